#!/usr/bin/env bash
# Put a report on a pull request as one comment, posted the first time and updated ever after.
#
#   scripts/pr_report.sh [REPORT.md | RECIPE.yaml]
#
# Default: the newest report under $BURNISH_HOME (.burnish). In GitHub Actions everything else is known; elsewhere set
#   GITHUB_REPOSITORY  owner/name          PR_NUMBER      number of the pull request
#   GH_TOKEN           or GITHUB_TOKEN     COMMENT_LOGIN  who comments, default github-actions[bot]
# The comment is found by the report's hidden first line, among those of COMMENT_LOGIN alone: anybody can write that line.
# Without a pull request, or with a token that may not write, as on a fork, the report goes to the step's summary, and
# where there is none to standard output.
#
# A workflow that only learns which run ended (workflow_run) has no number for a fork's pull request. It sets
#   HEAD_REPOSITORY HEAD_BRANCH HEAD_SHA   of that run's event: the open pull request that ends in this commit is taken
#   UNTRUSTED=1    the report was made by the code of the change: it must be a plain file of at most 1 MiB, mentions
#                  nobody, and says whose it is
set -euo pipefail

fail() {
  printf 'pr_report: %s\n' "$1" >&2
  exit "${2:-1}"
}

newest() {
  local found='' path
  for path in "${BURNISH_HOME:-.burnish}"/artifacts/report-*/report.md; do
    [[ $path != *.partial/* && -f $path && (-z $found || $path -nt $found) ]] && found=$path
  done
  printf '%s' "$found"
}

made() {
  local answer
  answer=$(burnish show "$1" report --json) || return
  python3 -c 'import json, sys; print(json.load(sys.stdin)["path"] or "")' <<<"$answer"
}

case ${1:-} in
  '') report=$(newest) ;;
  *.yaml | *.yml) report=$(made "$1")/report.md ;;
  *) report=$1 ;;
esac
[[ -n $report && -f $report ]] || fail "there is no report${1:+ of $1}; make it with: burnish run RECIPE" 2

untrusted=${UNTRUSTED:-}
if [[ -n $untrusted ]]; then
  [[ ! -L $report ]] || fail "$report is a link" 2
  (($(wc -c <"$report") <= 1048576)) || fail "$report is larger than 1 MiB" 2
fi

marker=$(head -n 1 "$report" | tr -d '\0')
[[ $marker =~ ^'<!-- burnish:report:'[A-Za-z0-9_-]*' -->'$ ]] || fail "$report is no report of burnish" 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

summarise() {
  printf 'pr_report: %s\n' "$1" >&2
  cat "$report" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
  exit 0
}

# GitHub refuses a comment of more than 65,536 characters; burnish keeps below, and whatever does not is cut at a line.
python3 - "$report" "$untrusted" >"$work/body.json" <<'PYTHON' || fail "$report is no text" 2
import json, re, sys

LIMIT = 65_536
NOTE = "> Made by the code of this change: believe its numbers as far as that code.\n"
try:
    text = open(sys.argv[1], encoding="utf-8").read()
except UnicodeDecodeError:
    sys.exit(1)
if sys.argv[2]:
    first, _, rest = text.replace("\0", "").partition("\n")
    text = f"{first}\n{NOTE}\n" + re.sub(r"@|&(?:#0*64|#x0*40|commat);?", "@\u200b", rest, flags=re.IGNORECASE)
if len(text) > LIMIT:
    text = text[: LIMIT - 200].rpartition("\n")[0] + "\n\n</details>\n\nCut here: GitHub takes no longer comment.\n"
print(json.dumps({"body": text}))
PYTHON

number=${PR_NUMBER:-}
if [[ -z $number && ${GITHUB_REF:-} =~ ^refs/pull/([0-9]+)/ ]]; then
  number=${BASH_REMATCH[1]}
fi
[[ -n $number || -n ${HEAD_SHA:-} ]] || summarise "no pull request, the report goes to the summary"
[[ $number =~ ^[0-9]*$ ]] || fail "PR_NUMBER is no number (got $number)" 2
repository=${GITHUB_REPOSITORY:?set GITHUB_REPOSITORY to owner/name}
token=${GH_TOKEN:-${GITHUB_TOKEN:-}}

# request METHOD PATH [BODY]: the answer goes to answer.json. Exits with 4 where the token may not.
request() {
  local method=$1 path=$2 body=${3:-} status=0
  if command -v gh >/dev/null; then
    gh api --method "$method" "$path" ${body:+--input "$body"} >"$work/answer.json" 2>"$work/error" || status=$?
    ((status == 0)) && return 0
    grep -Eq 'HTTP 403|gh auth login|GH_TOKEN' "$work/error" && return 4
  else
    [[ -n $token ]] || return 4
    # The token goes through a file: an argument could be read by every process of the machine.
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/auth"
    status=$(curl --silent --show-error --config "$work/auth" --request "$method" --output "$work/answer.json" \
      --write-out '%{http_code}' --header 'Accept: application/vnd.github+json' ${body:+--data-binary "@$body"} \
      "${GITHUB_API_URL:-https://api.github.com}/$path" 2>"$work/error") || status=000
    [[ $status == 2* ]] && return 0
    printf 'HTTP %s\n' "$status" >>"$work/error"
    [[ $status == 403 ]] && return 4
  fi
  return 1
}

call() {
  local status=0
  request "$@" || status=$?
  ((status == 4)) && summarise "the token may not do this ($1 $2), the report goes to the summary"
  ((status == 0)) || fail "$1 $2 failed: $(tr '\n' ' ' <"$work/error")"
}

# The number of the open pull request of this branch that ends in this very commit.
find_number='
import json, os, sys
pulls = json.load(open(sys.argv[1], encoding="utf-8"))
wanted = os.environ["HEAD_REPOSITORY"], os.environ["HEAD_SHA"]
heads = [(p["number"], ((p["head"]["repo"] or {}).get("full_name"), p["head"]["sha"])) for p in pulls]
print(next((number for number, head in heads if head == wanted), ""))
'
if [[ -z $number ]]; then
  branch=$(python3 -c 'import os, urllib.parse as u; print(u.quote(os.environ["HEAD_BRANCH"], safe=""))')
  call GET "repos/$repository/pulls?state=open&per_page=100&head=${HEAD_REPOSITORY%%/*}:$branch"
  number=$(python3 -c "$find_number" "$work/answer.json")
  [[ -n $number ]] || summarise "no open pull request ends in $HEAD_SHA, the report goes to the summary"
fi

# Prints how many comments a page had and, once found, the number of ours.
find_ours='
import json, os, sys
comments = json.load(open(sys.argv[1], encoding="utf-8"))
login = os.environ.get("COMMENT_LOGIN", "github-actions[bot]")
ours = [c["id"] for c in comments if c["user"]["login"] == login and (c["body"] or "").startswith(sys.argv[2])]
print(len(comments), *ours[:1])
'
comment=''
page=1
while [[ -z $comment ]]; do
  call GET "repos/$repository/issues/$number/comments?per_page=100&page=$page"
  read -r size comment < <(python3 -c "$find_ours" "$work/answer.json" "$marker")
  ((size == 100)) || break
  page=$((page + 1))
done

if [[ -n $comment ]]; then
  call PATCH "repos/$repository/issues/comments/$comment" "$work/body.json"
  printf 'pr_report: updated comment %s of pull request %s\n' "$comment" "$number"
else
  call POST "repos/$repository/issues/$number/comments" "$work/body.json"
  printf 'pr_report: commented on pull request %s\n' "$number"
fi
