#!/usr/bin/env bash
# Show a report in GitHub Actions: its page in the step's summary, its annotations beside the change.
#
#   scripts/show_report.sh FOLDER
#
# FOLDER is that of the report. Without GITHUB_STEP_SUMMARY the page goes to standard output. GitHub shows nothing of a
# summary of more than 1 MiB, so of a longer one the page for comments is shown, which is short. Of annotations.txt only
# annotations are printed: any other workflow command in it would be obeyed.
set -euo pipefail

LIMIT=1048576
folder=${1:?usage: scripts/show_report.sh FOLDER}

for page in summary.md report.md; do
  if [[ -f $folder/$page ]] && (($(wc -c <"$folder/$page") <= LIMIT)); then
    cat "$folder/$page" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
    break
  fi
done
if [[ -f $folder/annotations.txt ]]; then
  grep -E '^::(error|warning|notice) title=[^:,]*::' "$folder/annotations.txt" || true
fi
