#!/usr/bin/env bash
# A sweep on SLURM: a process for each GPU, on any number of nodes, all on one ledger.
#
#   sbatch --nodes=2 scripts/slurm.sh --preset paper --claims E1
#
# Submit it in the project's folder, which the nodes share (cnnlab/evidence/ledger.py says what the
# file system must do). Each process takes the runs that nobody is at; all wait for the last one.
# Without GPUs take out the line that asks for them.
#SBATCH --job-name=cnnlab
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

# Five minutes before the time is up this shell is told, and tells each process to save.
told=
trap 'told=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 \
  --output="slurm-%j-%t.log" --open-mode=append \
  "${PYTHON:-.venv/bin/python}" experiments/reproduce.py "$@" &
step=$!
wait "$step"
status=$?
if [ -n "$told" ]; then # which ended the wait
  wait "$step"
  status=$?
fi
# A process that saved leaves with 75. srun gives the highest status, and so that of a process that
# was lost beside it (137): once the time is up, whatever is not done goes on.
if [ "$status" -eq 75 ] || { [ -n "$told" ] && [ "$status" -ne 0 ]; }; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
