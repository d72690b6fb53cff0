#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --signal=SIGUSR1@90
#SBATCH --requeue

# One task for each GPU. 90 seconds before its time is over, the job gets SIGUSR1: the run saves itself and ends with 138.
code=0
srun woof fit --config adamw_onecycle --trainer.num_nodes 2 --trainer.devices 4 --name both --resume || code=$?
if [ "$code" = 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
