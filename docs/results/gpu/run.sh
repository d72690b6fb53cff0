#!/bin/sh
# Runs what a GPU machine without a network should answer, for at most 9 minutes a call; the next call goes on.
#
#   sh docs/results/gpu/run.sh               # everything, as far as the time reaches
#   sh docs/results/gpu/run.sh --arrive      # only take a part of the images that has arrived
#   WOOF_GPU_TRY=1 sh docs/results/gpu/run.sh --limit_s 120      # the CPU stands in, at the smallest sizes
#
# OUT              the folder that is brought back (.gpu/out)
# WOOF_GPU_PACKED  where wheels and images arrive, made by pack.py (.gpu)
# WOOF_GPU_WORK    everything that is made, kept between calls (/tmp/woof-gpu)
# PYTHON           the Python that has torch (python3)
# --help lists the options; README.md beside this file says what each call brings back.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
cd "$root"
python=${PYTHON:-python3}
packed=${WOOF_GPU_PACKED:-$root/.gpu}
work=${WOOF_GPU_WORK:-/tmp/woof-gpu}
site=$work/site
mkdir -p "$site"
if [ -d "$packed/wheels" ] && [ ! -e "$site/.installed" ]; then
    # Beside the machine's packages: nothing there is changed, and torch stays its own.
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
        "$packed"/wheels/*.whl
    # The records of the runs ask for the project's version, which is nowhere without an installation or git.
    about=$site/woof_lightning-0.dist-info
    mkdir -p "$about"
    printf 'Metadata-Version: 2.1\nName: woof-lightning\nVersion: %s\n' "$(cat "$packed/wheels/version.txt")" \
        >"$about/METADATA"
    touch "$site/.installed"
fi
PYTHONPATH=$root:$site exec "$python" -u -m docs.results.gpu.run "$@"
