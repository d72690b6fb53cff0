#!/bin/sh
# Trains the post's four experiments at 128 px, sweeps the learning rate, and repeats three epochs with the hand-rolled loop.
#
#   sh docs/results/imagewoof-128/run.sh imagewoof2-160.tgz [PRECISION]    # from the repository; 8 hours on 2 cores in fp32
#
# What is finished is left alone, what was cut goes on. The runs lie in runs/imagewoof-128; their records are copied here.
set -eu
archive=$1
precision=${2:-bf16-mixed}
here=$(dirname "$0")
runs=runs/imagewoof-128
# glibc then keeps freed memory, which the next step takes again: faster, same results.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000000

settings() {
    echo --config "configs/$1.yaml" --config configs/cpu.yaml --trainer.precision "$precision" \
        --data.archive "$archive" --runs_dir "$runs"
}

record() {
    mkdir -p "$here/$1"
    for file in config.yaml metrics.csv result.json lr_find; do
        if [ -e "$runs/$1/$file" ]; then cp -r "$runs/$1/$file" "$here/$1"; fi
    done
    cp "$runs/$1"/events.out.tfevents.* "$here/$1"
}

for name in adamw_onecycle sgd_step sgd_step_found_lr sgd_onecycle; do
    # shellcheck disable=SC2046  # The settings are separate words.
    [ -e "$runs/$name/result.json" ] || woof fit $(settings $name) --resume
    case $name in adamw_onecycle | sgd_step)
        [ -e "$runs/$name/lr_find" ] || woof lr-find $(settings $name) ;;
    esac
    record $name
done

by_hand=adamw_onecycle-hand_rolled
if [ ! -e "$here/$by_hand" ]; then
    woof loop hand_rolled $(settings adamw_onecycle) --overwrite &
    # A validation's row has a value in its last column.
    until [ "$(cat "$runs/$by_hand/metrics.csv" 2>/dev/null | grep -cE ',[0-9.]+$')" -ge 3 ]; do sleep 1; done
    kill $!
    wait $! || true
    record $by_hand
fi
