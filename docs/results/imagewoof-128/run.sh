#!/bin/sh
# Trains what docs/results.md shows: the post's four experiments at 128 px for 40 epochs, sweeps of the learning rate, the
# first three epochs by the hand-rolled loop, and 20 epochs with a head of 1,000 outputs.
#
#   sh docs/results/imagewoof-128/run.sh imagewoof2-160.tgz [PRECISION]    # from the repository
#
# What is finished is left alone, what was cut goes on. The runs lie in runs/imagewoof-128; their records are copied here.
set -eu
archive=$1
precision=${2:-bf16-mixed}
here=$(dirname "$0")
runs=runs/imagewoof-128
# glibc then keeps freed memory, which the next step takes again: faster, same results (docs/results/cpu-speed).
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000000

settings() {
    echo --config "configs/$1.yaml" --config configs/cpu.yaml --trainer.precision "$precision" \
        --data.archive "$archive" --runs_dir "$runs"
}

# RUN TARGET
record() {
    mkdir -p "$2"
    for file in config.yaml metrics.csv result.json lr_find; do
        if [ -e "$runs/$1/$file" ]; then cp -r "$runs/$1/$file" "$2"; fi
    done
    cp "$runs/$1"/events.out.tfevents.* "$2"
}

# shellcheck disable=SC2046  # The settings are separate words.
experiment() {
    [ -e "$runs/$1/result.json" ] || woof fit $(settings "$1") --resume
    record "$1" "$here/$1"
}

# shellcheck disable=SC2046
sweep() {
    # Exit code 2: the curve has no suggestion, which its result.json says.
    [ -e "$runs/$1/lr_find" ] || woof lr-find $(settings "$1") || [ $? = 2 ]
    record "$1" "$here/$1"
}

# shellcheck disable=SC2046
three_epochs_by_hand() {
    by_hand=adamw_onecycle-hand_rolled
    if [ -e "$here/$by_hand" ]; then return; fi
    woof loop hand_rolled $(settings adamw_onecycle) --overwrite &
    # A validation's row has a value in its last column.
    until [ "$(cat "$runs/$by_hand/metrics.csv" 2>/dev/null | grep -cE ',[0-9.]+$')" -ge 3 ]; do
        kill -0 $!
        sleep 1
    done
    kill $!
    wait $! || true
    record $by_hand "$here/$by_hand"
}

# shellcheck disable=SC2046
head_of_1000() {
    [ -e "$runs/head1000/result.json" ] || woof fit $(settings adamw_onecycle) --trainer.max_epochs 20 \
        --model.num_classes 1000 --name head1000 --resume
    record head1000 "$here/../imagewoof-128-20epochs-head1000/seed0"
}

experiment adamw_onecycle
sweep adamw_onecycle
three_epochs_by_hand
experiment sgd_step
sweep sgd_step
experiment sgd_step_found_lr
experiment sgd_onecycle
head_of_1000
