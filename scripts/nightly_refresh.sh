#!/bin/bash
# New maps each night: refresh, check every byte, remove old generations. For cron or a systemd timer.
#
#   LOGS=/var/log/scae CHECKPOINTS=/shared/runs/lt/checkpoints scripts/nightly_refresh.sh \
#       --data /data/photos --cache /shared/maps.zarr --network torchvision:resnet50
#
# All words go to `scae refresh`; --cache is read from them too. From the environment:
#
#   LOGS         folder of the logs, one a day (refresh-2026-11-25.log), and of the lock; it must be set
#   CHECKPOINTS  folder: the newest *.pt or *.pth in it is given as --weights; else name --weights yourself
#   KEEP         newest generations that stay (2)
#   LOG_DAYS     days that logs stay (30)
#   SCAE         the command (scae), such as /srv/scae/.venv/bin/scae: cron knows a short PATH only
#
# With cron, at 02:30 (mail comes only when something is wrong, since nothing is printed otherwise):
#
#   30 2 * * * LOGS=$HOME/logs SCAE=$HOME/scae/.venv/bin/scae $HOME/scae/scripts/nightly_refresh.sh --data ...
#
# With systemd: scripts/systemd/scae-refresh.service and .timer.
#
# Ends with 0: the maps are there, or were already; 1: a step failed or bytes are damaged, its last
# lines are printed; 2: wrong usage; 75: stopped by SIGTERM, or another one is still running. The same
# command goes on: blocks that are done stay done.
set -uo pipefail

scae=${SCAE:-scae}
keep=${KEEP:-2}
log_days=${LOG_DAYS:-30}
lines_shown=20

fail() { # CODE MESSAGE
    echo "nightly_refresh: $2" >&2
    exit "$1"
}

cache=
weights=
before=
for word in "$@"; do
    case $before in
        --cache) cache=$word ;;
        --weights) weights=$word ;;
    esac
    case $word in
        --cache=*) cache=${word#*=} ;;
        --weights=*) weights=${word#*=} ;;
    esac
    before=$word
done
[ -n "${LOGS:-}" ] || fail 2 "LOGS must name a folder for logs and lock, such as LOGS=/var/log/scae"
[ -n "$cache" ] || fail 2 "no --cache among the options: give those of 'scae refresh'"
command -v "$scae" >/dev/null || fail 2 "there is no command $scae: set SCAE, such as SCAE=/srv/scae/.venv/bin/scae"

options=("$@")
if [ -n "${CHECKPOINTS:-}" ]; then
    [ -z "$weights" ] || fail 2 "both CHECKPOINTS and --weights are given: leave one out"
    # A trainer writes under another name and renames, so a name that ends like this is a whole file.
    newest=$(find "$CHECKPOINTS" -maxdepth 1 -type f \( -name '*.pt' -o -name '*.pth' \) \
        -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    [ -n "$newest" ] || fail 1 "CHECKPOINTS $CHECKPOINTS holds no *.pt or *.pth: no checkpoint was written yet?"
    options+=(--weights "$newest")
fi

mkdir -p "$LOGS" || fail 1 "folder $LOGS can't be made"
# The lock lives as long as any process that has it open. The steps inherit it on purpose: where this
# shell alone is killed, a refresh that still runs keeps the next night's out.
exec 9>>"$LOGS/refresh.lock" || fail 1 "$LOGS/refresh.lock can't be written"
flock --nonblock 9 || fail 75 "another refresh still runs and holds $LOGS/refresh.lock"

log=$LOGS/refresh-$(date +%F).log
find "$LOGS" -maxdepth 1 -name 'refresh-*.log' -mtime "+$log_days" -delete

note() {
    echo "$(date '+%F %T') $*" >>"$log"
}

stopped=
step=
trap 'stopped=yes; [ -z "$step" ] || kill -TERM "$step" 2>/dev/null' TERM INT

run() { # WORDS: runs a step whose lines go into the log; ends this script where it fails
    local from code
    [ -z "$stopped" ] || fail 75 "stopped: the same command goes on"
    note "$*"
    from=$(($(wc -l <"$log") + 1))
    "$@" >>"$log" 2>&1 &
    step=$!
    [ -z "$stopped" ] || kill -TERM "$step"
    # wait returns early when a signal arrives, so ask until the step has really ended.
    while true; do
        wait "$step"
        code=$?
        kill -0 "$step" 2>/dev/null || break
    done
    step=
    note "ended with $code"
    [ "$code" -ne 0 ] || return 0
    if [ -n "$stopped" ] || [ "$code" -eq 75 ]; then
        fail 75 "stopped: the same command goes on; $log"
    fi
    tail -n "+$from" "$log" | tail -n "$lines_shown" >&2
    [ "$code" -ne 2 ] || fail 2 "'$1 $2' was called in a wrong way; all of it is in $log"
    fail 1 "'$1 $2' failed; all of it is in $log"
}

run "$scae" refresh "${options[@]}"
# Old generations are what is left to go back to, so they go only once the new one is known to be sound.
run "$scae" cache verify "$cache"
run "$scae" cache gc "$cache" --keep "$keep"
