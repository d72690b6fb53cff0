#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --signal=SIGUSR1@90
#SBATCH --requeue

# One task for each GPU. Lightning reads the number of each process from SLURM's variables.
srun woof fit --config adamw_onecycle --trainer.num_nodes 2 --trainer.devices 4 --name both --resume
