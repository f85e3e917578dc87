#!/usr/bin/env bash
# A command on all hosts of some TPU VMs: a sweep that VMs of one host each share, or one whose runs
# take a whole slice of several hosts.
#
#   export ZONE=us-east5-a FOLDER=/mnt/nfs/cnnlab
#   scripts/tpu_vm.sh tpu-1,tpu-2 experiments/reproduce.py --preset paper
#   scripts/tpu_vm.sh slice experiments/ablate.py --config configs/stacked_convs.py:paper --distributed
#
# FOLDER is the project, at the same path everywhere, on a file system that the hosts share and that
# takes locks, such as Filestore (NFS); a bucket mounted with gcsfuse takes none. The data sets lie
# there in TFDS_DATA_DIR, FOLDER/tensorflow_datasets if it is not set (scripts/prepare_data.py makes
# them). Each host gets a .venv in its own home, by PYTHON (python3). The command goes on when this
# script ends; a second at a time is refused.
set -euo pipefail

vms=$1
shift
printf -v command ' %q' "${@:?what to run}"
printf -v folder %q "${FOLDER:?where the project lies on the VMs}"
printf -v data %q "${TFDS_DATA_DIR:-$FOLDER/tensorflow_datasets}"
printf -v python %q "${PYTHON:-python3}"
remote="set -e
if ! flock --nonblock \$HOME/sweep.lock true; then
  echo \"error: \$(hostname) is at work already; ~/sweep.log there says at what\" >&2
  exit 1
fi
cd $folder
export TFDS_DATA_DIR=$data
[ -x \$HOME/.venv/bin/python ] || $python -m venv \$HOME/.venv
flock .install.lock \
  \$HOME/.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[tpu]'
nohup flock --nonblock \$HOME/sweep.lock \
  \$HOME/.venv/bin/python$command >>\$HOME/sweep.log 2>&1 </dev/null &"

for vm in ${vms//,/ }; do
  gcloud compute tpus tpu-vm ssh "$vm" --zone="${ZONE:?the zone of the VMs}" --worker=all \
    --command="$remote"
  echo "$vm: ~/sweep.log on its hosts says how far it is"
done
