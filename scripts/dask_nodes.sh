#!/bin/bash
# A refresh on several machines that are reached by ssh, without any batch system: a Dask scheduler and
# the command here, a worker on each node.
#
#   NODES="node1 node2" scripts/dask_nodes.sh --data /data/photos --cache /shared/maps.zarr \
#       --network torchvision:resnet50 --weights /shared/resnet50.pth
#
# All words go to `scae refresh`. Data, weights, cache, the folder this is started in and scae itself
# must be at the same paths on all machines. From the environment:
#
#   NODES      names as ssh knows them; localhost is this machine, without ssh; it must be set
#   GPUS       GPUs of each node: one worker for each (by default one worker a node)
#   THREADS    cores of one worker (all of the node's)
#   PROGRAMS   folder of scae and dask on all machines (that of the scae found here)
#   INTERFACE  network interface that nodes reach this machine by, such as ib0
#   REMOTE     the command that runs another on a node (ssh -o BatchMode=yes -o ServerAliveInterval=15)
#   LOGS       folder for what scheduler and workers print (one of its own, removed after a success)
#
# Whatever happens, scheduler and workers end: each runs under a guard that reads a pipe which only this
# script holds open, so they end also where this script is killed with SIGKILL or a connection breaks.
# A node that can't be reached, or drops out, is named; the others go on.
#
# Ends with the code of `scae refresh` (75: stopped by SIGTERM or Ctrl-C, the same command goes on), with
# 1 also where no node has a worker, 2 for wrong usage.
set -uo pipefail

fail() { # CODE MESSAGE
    echo "dask_nodes: $2" >&2
    exit "$1"
}

read -ra nodes <<<"${NODES:-}"
read -ra remote <<<"${REMOTE:-ssh -o BatchMode=yes -o ServerAliveInterval=15}"
[ "${#nodes[@]}" -gt 0 ] || fail 2 'NODES must name machines, such as NODES="node1 node2"'
programs=${PROGRAMS:-$(dirname "$(command -v scae || echo ./scae)")}
[ -x "$programs/scae" ] && [ -x "$programs/dask" ] ||
    fail 2 "no scae and dask in $programs: set PROGRAMS, such as PROGRAMS=/srv/scae/.venv/bin"
gpus=(none)
[ -z "${GPUS:-}" ] || mapfile -t gpus < <(seq 0 $((GPUS - 1)))

folder=$(mktemp -d "${TMPDIR:-/tmp}/scae-nodes-XXXXXX")
logs=${LOGS:-$folder/logs}
mkdir -p "$logs" || fail 1 "folder $logs can't be made"

# Runs WORDS until they end, or until standard input does: nobody writes to it, so its end means that
# whoever started this is gone. 20 s after SIGTERM comes SIGKILL.
# shellcheck disable=SC2016  # expanded where it runs
{
    guard='export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}; "$@" </dev/null & job=$!; '
    guard+='while kill -0 $job 2>/dev/null; do read -r -t 1 _; [ $? -gt 128 ] || break; done; '
    guard+='kill -TERM $job 2>/dev/null; '
    guard+='for _ in {1..100}; do kill -0 $job 2>/dev/null || break; sleep 0.2; done; '
    guard+='kill -KILL $job 2>/dev/null; wait $job'
}
mkfifo "$folder/hold"
exec 8<>"$folder/hold"

stopped=
refresh=
trap 'stopped=yes; [ -z "$refresh" ] || kill -TERM "$refresh" 2>/dev/null' TERM INT HUP

code=1
# shellcheck disable=SC2329  # the trap calls it
end() {
    exec 8>&- # scheduler and workers see the end of their input
    wait
    if [ "$code" -ne 0 ] && [ -z "${LOGS:-}" ]; then
        echo "dask_nodes: what scheduler and workers printed is in $logs" >&2
        rm -f "$folder/hold" "$folder/scheduler.json"
    else
        rm -rf "$folder"
    fi
}
trap end EXIT

on_node() { # NODE WORDS: runs WORDS there, in this folder, under the guard
    local node=$1 words=()
    shift
    words=(env ${THREADS:+"OMP_NUM_THREADS=$THREADS"} bash -c "$guard" guard "$@")
    if [ "$node" = localhost ]; then
        "${words[@]}"
    else
        # One word for the node's own shell, whichever it is.
        "${remote[@]}" "$node" "cd $(printf %q "$PWD") && exec $(printf '%q ' "${words[@]}")"
    fi
}

# Preemption must not make a block look as if it killed its workers.
DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=${DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES:-100} \
    on_node localhost "$programs/dask" scheduler --scheduler-file "$folder/scheduler.json" --port 0 \
    --dashboard-address :0 ${INTERFACE:+--interface "$INTERFACE"} \
    <"$folder/hold" 8>&- >"$logs/scheduler.log" 2>&1 &
scheduler=$!
until [ -s "$folder/scheduler.json" ]; do
    kill -0 "$scheduler" 2>/dev/null || fail 1 "no scheduler: $(tail -n 1 "$logs/scheduler.log")"
    [ -z "$stopped" ] || { code=75; exit "$code"; }
    sleep 0.1
done
address=$(sed -n 's/.*"address": *"\([^"]*\)".*/\1/p' "$folder/scheduler.json" | head -n 1)

declare -A workers=()
for node in "${nodes[@]}"; do
    for gpu in "${gpus[@]}"; do
        name=$node-${#workers[@]}
        owned=()
        [ "$gpu" = none ] || owned=(env "CUDA_VISIBLE_DEVICES=$gpu")
        on_node "$node" "${owned[@]}" "$programs/dask" worker "$address" --name "$name" --nthreads 1 \
            --no-dashboard --death-timeout 120 --local-directory /tmp \
            <"$folder/hold" 8>&- >"$logs/$name.log" 2>&1 &
        workers[$name]=$!
    done
done

look_after_workers() { # names those that have ended; the command can't go on without any
    local name ended
    for name in "${!workers[@]}"; do
        kill -0 "${workers[$name]}" 2>/dev/null && continue
        wait "${workers[$name]}"
        ended=$?
        unset "workers[$name]"
        echo "dask_nodes: the worker on ${name%-*} has ended with $ended: $(tail -n 1 "$logs/$name.log")" >&2
    done
    [ "${#workers[@]}" -gt 0 ] || kill -TERM "$refresh" 2>/dev/null
}

[ -z "$stopped" ] || { code=75; exit "$code"; }
"$programs/scae" refresh "$@" --scheduler "$address" 8>&- &
refresh=$!
[ -z "$stopped" ] || kill -TERM "$refresh"
while kill -0 "$refresh" 2>/dev/null; do
    look_after_workers
    sleep 0.5
done
wait "$refresh"
code=$?
if [ "$code" -ne 0 ] && [ -z "$stopped" ] && [ "${#workers[@]}" -eq 0 ]; then
    code=1
    echo "dask_nodes: no node has a worker left; what is done stays: mend the nodes, same command" >&2
fi
exit "$code"
