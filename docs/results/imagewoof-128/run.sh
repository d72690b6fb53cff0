#!/bin/sh
# Trains what docs/results.md shows: the post's four experiments at 128 px for 40 epochs, sweeps of the learning rate, the
# first three epochs by the hand-rolled loop, and 20 epochs with a head of 1,000 outputs.
#
#   sh docs/results/imagewoof-128/run.sh imagewoof2-160.tgz [PRECISION [RUN…]]    # from the repository; RUN: see the end
#
# PRECISION is bf16-mixed or 32-true. What is finished is left alone, what was cut goes on. The runs lie in runs/imagewoof-128,
# their records are copied here; those of fp32 lie in folders of the same names with -fp32.
set -eu
archive=${1:?expected the archive of images: sh run.sh imagewoof2-160.tgz}
precision=${2:-bf16-mixed}
shift "$(($# < 2 ? 1 : 2))"
case $precision in
    bf16-mixed) suffix= ;;
    32-true) suffix=-fp32 ;;
    *)
        echo "PRECISION $precision: expected bf16-mixed or 32-true" >&2
        exit 2
        ;;
esac
results=$(dirname "$0")/..
here=$results/imagewoof-128$suffix
runs=runs/imagewoof-128$suffix
# glibc then keeps freed memory, which the next step takes again: faster, same results (docs/results/cpu_speed).
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000000

settings() {
    echo --config "configs/$1.yaml" --config configs/cpu.yaml --trainer.precision "$precision" \
        --data.archive "$archive" --runs_dir "$runs"
}

# RUN TARGET
record() {
    mkdir -p "$2"
    for file in "$runs/$1"/config.yaml "$runs/$1"/metrics.csv "$runs/$1"/result.json "$runs/$1"/lr_find \
        "$runs/$1"/events.out.tfevents.*; do
        if [ -e "$file" ]; then cp -r "$file" "$2"; fi
    done
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

# A validation's row has a value in its last column.
epochs_by_hand() {
    cat "$runs/$by_hand/metrics.csv" 2>/dev/null | grep -cE ',[0-9.]+$' || true
}

# shellcheck disable=SC2046
three_epochs_by_hand() {
    by_hand=adamw_onecycle-hand_rolled
    if [ "$(epochs_by_hand)" -ge 3 ]; then return; fi
    woof loop hand_rolled $(settings adamw_onecycle) --overwrite &
    until [ "$(epochs_by_hand)" -ge 3 ]; do
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
    record head1000 "$results/imagewoof-128-20epochs-head1000$suffix/seed0"
}

all="adamw_onecycle adamw_onecycle-lr_find adamw_onecycle-hand_rolled sgd_step sgd_step-lr_find sgd_step_found_lr
    sgd_onecycle head1000"
for run in ${*:-$all}; do
    case $run in
        *-lr_find) sweep "${run%-lr_find}" ;;
        *-hand_rolled) three_epochs_by_hand ;;
        head1000) head_of_1000 ;;
        *) experiment "$run" ;;
    esac
done
