#!/bin/bash
# A refresh as an array job, without any scheduler of its own: each task computes one part of the
# blocks and leaves receipts; a last job publishes when all parts are done.
#
#   PARTS=20 scripts/slurm/array.sh --data /data/photos --cache /shared/maps.zarr \
#       --network torchvision:resnet50 --weights /shared/resnet50.pth
#
# Options of sbatch come from SBATCH_OPTIONS, such as "--partition=preempt --time=01:00:00
# --cpus-per-task=4"; those of the last job alone from FINALIZE_OPTIONS. Prints both jobs' ids.
# A part that is stopped (walltime, preemption) puts itself back into the queue and goes on where it
# was. Run the same command again after mending what made a part fail: only missing blocks are done.
set -euo pipefail

parts=${PARTS:-20}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra options <<<"${SBATCH_OPTIONS:-}"
read -ra last_options <<<"${FINALIZE_OPTIONS:-}"

array=$(sbatch --parsable "--array=0-$((parts - 1))" "${options[@]}" "$here/part.sbatch" "$@")
array=${array%%;*}
# afterany, not afterok: where a part has failed, the last job says which ones are missing.
last=$(sbatch --parsable "--dependency=afterany:$array" "${last_options[@]}" \
    "$here/finalize.sbatch" "$parts" "$@")
echo "parts $array, last job ${last%%;*}"
