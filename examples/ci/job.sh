#!/bin/sh
# Label new photos and check the result; for cron, or any CI that runs a shell.
#
#   sh examples/ci/job.sh samlabel.toml
#
# Everything is kept in the output folder that the file names: started again after a kill, a reboot or with new
# photos, it does only what is missing. Exit codes: 0 done, 3 done but some photos failed (see failed.jsonl),
# 4 the labels did not pass the check; anything else is a failure of the job itself.
set -u
config="${1:?usage: job.sh CONFIG}"

out=$(samlabel config show --config "$config" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["out"]["value"])') || exit 2
samlabel config show --config "$config"

samlabel annotate --config "$config" --quiet --log "$out.log.jsonl"
labelled=$?
case $labelled in
    0 | 3) ;;
    *) exit $labelled ;;
esac

samlabel check "$out" --severity no-objects=off --allow mask-tiny=20 || exit $?
exit $labelled
