#!/usr/bin/env bash
# Lock a recipe to its data as they are now, make what changed, and end with the verdict: for cron, systemd and CI.
#
#   scripts/retrain.sh RECIPE [ARGUMENTS OF burnish run]
#
# Exit codes are those of burnish: 0 done or nothing new, 1 a stage failed, 2 something is wrong and nothing was
# started, 3 the gates say no. The last line on standard output says the outcome; burnish itself writes to standard
# error. In GitHub Actions the outputs `verdict`, `report` and `folder`, that of the report, are set.
set -euo pipefail

say() { printf '%s retrain %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$recipe" "$1"; }

stop() {
  say "$1"
  exit "$2"
}

recipe=${1:?usage: scripts/retrain.sh RECIPE [ARGUMENTS OF burnish run]}
shift

for tool in burnish flock python3; do
  command -v "$tool" >/dev/null || stop "$tool is not installed (exit 2)" 2
done
[[ -r $recipe ]] || stop "no such recipe (exit 2)" 2

# The lock is held on the open recipe itself, so nothing is left behind, however this script ends.
exec 9<"$recipe"
flock --nonblock 9 || stop "an earlier run has not ended, nothing was started (exit 2)" 2

# What is overridden may be what is locked.
settings=()
arguments=("$@")
for index in "${!arguments[@]}"; do
  case ${arguments[index]} in
    --set) settings+=(--set "${arguments[index + 1]:?--set needs PATH=VALUE}") ;;
    --set=*) settings+=("${arguments[index]}") ;;
  esac
done

code=0
burnish lock "$recipe" ${settings[@]+"${settings[@]}"} >&2 9<&- || code=$?
((code == 0)) || stop "cannot be locked, nothing was started (exit $code)" "$code"

answer=$(burnish run "$recipe" --locked --json "$@" 9<&-) || code=$?

# The summary that burnish answers with: three lines, the outcome in words, the verdict and the report's path.
read_answer='
import json, sys
try:
    told = json.load(sys.stdin)
except ValueError:
    told = {}
verdict = told.get("verdict") or ""
path = told.get("artifacts", {}).get("report", {}).get("path", "")
words = [] if told.get("run") or "run" not in told else ["nothing new"]
words += ["verdict " + verdict] if verdict else []
words += ["held back: " + ", ".join(told["held_back"])] if told.get("held_back") else []
words += told.get("problems", [])[:1]
print(" ".join("; ".join(words).split()), verdict, path + "/report.md" if path else "", sep="\n")
'
{
  read -r words || true
  read -r verdict || true
  read -r report || true
} < <(python3 -c "$read_answer" <<<"$answer")

if [[ -n ${GITHUB_OUTPUT:-} ]]; then
  printf 'verdict=%s\nreport=%s\nfolder=%s\n' "$verdict" "$report" "${report%/report.md}" >>"$GITHUB_OUTPUT"
fi
case $code in
  0) outcome="done" ;;
  1) outcome="a stage failed" ;;
  2) outcome="nothing was started" ;;
  3) outcome="the gates say no" ;;
  *) outcome=stopped ;;
esac
stop "$outcome${words:+; $words}${report:+; report $report} (exit $code)" "$code"
