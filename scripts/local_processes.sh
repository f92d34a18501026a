#!/usr/bin/env bash
# Run one meta-training job as several processes of this machine; `--help` says how.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 501)); then
  echo "${0##*/}: bash 5.1 or later is needed, and this is $BASH_VERSION: put a newer one first on PATH." >&2
  exit 2
fi
set -u

usage() {
  cat <<'EOT'
usage: local_processes.sh N [--restarts R] [--port P] [--log-dir DIR] [--grace S] -- COMMAND...

Run N processes of COMMAND on this machine as one job; process I is
    COMMAND... --coordinator 127.0.0.1:PORT --num-processes N --process-id I

  --restarts R   start the job again up to R times after a crash, after 1, 2, 4, ... 30 seconds (0)
  --port P       the coordinator's port (a free one, a new one for each restart)
  --log-dir DIR  append the output of processes 1, 2, ... to DIR/process-I.log (to stderr, after "[I] ")
  --grace S      seconds that the others have once one ended badly, before they are killed (10)

JAX_PLATFORMS=cpu unless it is set; with JAX_PLATFORMS=cuda, process I has the I-th GPU (of
CUDA_VISIBLE_DEVICES, where that is set). The first SIGTERM, SIGINT (ctrl-C) or SIGHUP is passed on to every
process, once, and the job is waited for; the second kills it. However this script ends, no process stays.

exit status: 0 done, or stopped by a signal; 2 bad usage; else that of the process that ended badly first, or
128 + the signal that killed the job. 1 and 2 are errors that would come again: they are not restarted.

    scripts/local_processes.sh 2 --restarts 3 -- lopt-train demo --run-dir runs/mine
EOT
}

say() { echo "${0##*/}: $1" >&2; }

bad_usage() {
  say "$1; see ${0##*/} --help."
  exit 2
}

# The job is run by a "nursery", a process whose group no terminal signals. It reads a pipe that only this
# script holds open, so that it learns of this script's end, and writes what happens, in the order of time,
# to another: "start I PID", "end I STATUS". A line to it says not to start what is not yet started.

nursery() { # DELAY PORT
  local i alive
  trap '' HUP INT TERM # a signal to whatever belongs to the job must not take the watchers from it
  exec {alive}<&0
  read -rt "$1" -u "$alive"
  (($? > 128)) || exit # a line, or the pipe is closed, rather than the time over
  for ((i = 0; i < count; i++)); do watch "$i" "$2" & done
  wait
}

watch() { # I PORT
  local out=$stdout err=2 events pid keeper status
  exec {events}>&1
  if (($1)); then
    if [[ $log_dir ]]; then exec {out}>>"$log_dir/process-$1.log"; else exec {out}> >(prefix "$1"); fi
    err=$out
  fi
  [[ ${JAX_PLATFORMS-} != cuda* ]] || export CUDA_VISIBLE_DEVICES=${gpus[$1]-$1}
  export JAX_PLATFORMS=${JAX_PLATFORMS-cpu}
  set -m # a group of its own, so that what the process started can be killed with it
  (
    trap - HUP INT TERM
    echo "start $1 $BASHPID" >&"$events" # not before signals have an effect
    exec {events}>&- "${command[@]}" --coordinator "127.0.0.1:$2" --num-processes "$count" --process-id "$1"
  ) </dev/null >&"$out" 2>&"$err" {out}>&- {stdout}>&- {alive}<&- &
  pid=$!
  set +m
  exec 2>/dev/null {out}>&- # no notice by bash when the process is killed
  { while read -r -u "$alive"; do :; done; kill -KILL -- "-$pid"; } &
  keeper=$!
  wait "$pid"
  status=$?
  kill -KILL "$keeper"
  kill -KILL -- "-$pid"
  echo "end $1 $status"
}

prefix() { # I
  local line
  while IFS= read -r line || [[ $line ]]; do printf '[%s] %s\n' "$1" "$line"; done >&2
}

find_port() {
  while :; do
    port=$((20000 + SRANDOM % 10000)) # below what systems give to outgoing connections
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  done
}

# Kill what still runs.
release() {
  [[ ! $life ]] || exec {life}>&-
  life=''
}

# Pass the signal on to process I; to one that starts later, when it has started.
forward() { # I
  ((told[$1]++)) || kill -s "$asked" "${pids[$1]}" 2>/dev/null
}

on_signal() { # NAME NUMBER
  local i
  if [[ $asked ]]; then
    killed=$((128 + $2))
    release
    return
  fi
  asked=$1 asked_status=$((128 + $2))
  [[ ! $life ]] || echo >&"$life"
  for i in "${!pids[@]}"; do forward "$i"; done
}

# Run the job once. Set `first` to the process that ended badly first, if one did, and `status` to how;
# `stopped` to one that saved and stopped; `left` to the number of those of which no end was heard.
attempt() { # DELAY
  local port=$fixed_port deadline='' timeout events nursery kind i value
  pids=() told=() first='' stopped='' left=$count
  [[ $port ]] || find_port
  set -m # ctrl-C in a terminal reaches this script alone, which passes it on once
  coproc NURSERY { nursery "$1" "$port"; }
  set +m
  nursery=$NURSERY_PID
  exec {events}<&"${NURSERY[0]}"- {life}>&"${NURSERY[1]}"-
  [[ ! $asked ]] || echo >&"$life" # the signal came when there was nobody to tell
  while :; do
    timeout=()
    [[ ! $deadline ]] || timeout=(-t "$((deadline > SECONDS ? deadline - SECONDS : 0)).1") # never 0: a poll
    if read -r "${timeout[@]}" -u "$events" kind i value; then
      if [[ $kind == start ]]; then
        pids[i]=$value told[i]=0
        [[ ! $asked ]] || forward "$i"
        continue
      fi
      unset "pids[$i]"
      [[ ! $life ]] || judge "$i" "$value"
      ((--left)) || { release; deadline=$((SECONDS + 5)); }
    elif (($? <= 128)); then
      break
    elif [[ $deadline ]] && ((SECONDS >= deadline)); then
      ((left)) || break # something that a process left behind holds its output open
      release
      deadline=''
    fi
  done
  release
  exec {events}<&-
  wait "$nursery" 2>/dev/null
}

judge() { # I STATUS
  case $2 in
    0) ;;
    75) stopped=$1 ;;
    *)
      [[ $first || $asked && $2 == "$asked_status" ]] && return
      first=$1 status=$2 deadline=$((SECONDS + grace))
      ;;
  esac
}

describe() { # I STATUS
  local name log=''
  ((!$1)) || [[ ! $log_dir ]] || log=" (see $log_dir/process-$1.log)"
  if (($2 > 128)) && name=$(kill -l "$2" 2>/dev/null); then
    echo "process $1 was killed by SIG$name$log"
  else
    echo "process $1 ended with status $2$log"
  fi
}

printf -v resume ' %q' "$0" "$@"
for name in CUDA_VISIBLE_DEVICES JAX_PLATFORMS; do
  [[ ! ${!name-} ]] || printf -v resume ' %s=%q%s' "$name" "${!name}" "$resume"
done
count='' restarts=0 fixed_port='' log_dir='' grace=10
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    --restarts | --port | --log-dir | --grace)
      [[ ${2-} && $2 != -* ]] || bad_usage "$1 needs a value"
      case $1 in
        --restarts) restarts=$2 ;;
        --port) fixed_port=$2 ;;
        --log-dir) log_dir=$2 ;;
        --grace) grace=$2 ;;
      esac
      shift 2
      ;;
    -*) bad_usage "$1 is no option of this script (those of COMMAND come after --)" ;;
    *)
      [[ ! $count ]] || bad_usage "'$1' is one argument too many (COMMAND comes after --)"
      count=$1
      shift
      ;;
  esac
done
command=("$@")
[[ $count =~ ^[1-9][0-9]{0,3}$ ]] || bad_usage "the number of processes is a positive integer, not '$count'"
[[ $restarts =~ ^(0|[1-9][0-9]{0,5})$ ]] || bad_usage "--restarts takes a number, not '$restarts'"
[[ $grace =~ ^(0|[1-9][0-9]{0,5})$ ]] || bad_usage "--grace takes whole seconds, not '$grace'"
[[ ! $fixed_port || $fixed_port =~ ^[1-9][0-9]{0,4}$ && fixed_port -le 65535 ]] ||
  bad_usage "--port takes a number from 1 to 65535, not '$fixed_port'"
((${#command[@]})) || bad_usage "no COMMAND is given after --"
type -P -- "${command[0]}" >/dev/null || bad_usage "there is no program '${command[0]}'"
if [[ $log_dir ]]; then
  mkdir -p -- "$log_dir" 2>/dev/null && [[ -w $log_dir ]] || bad_usage "logs can't be written to '$log_dir'"
fi
gpus=()
if [[ ${JAX_PLATFORMS-} == cuda* && ${CUDA_VISIBLE_DEVICES-} ]]; then
  IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
  ((${#gpus[@]} >= count)) || bad_usage "CUDA_VISIBLE_DEVICES has ${#gpus[@]} GPUs for $count processes"
fi

exec {stdout}>&1
pids=() told=()
asked='' asked_status='' killed='' life=''
trap 'on_signal HUP 1' HUP
trap 'on_signal INT 2' INT
trap 'on_signal TERM 15' TERM
delay=0.01
for ((restart = 1; ; restart++)); do
  attempt "$delay"
  if ((${#pids[@]} || (left && !${#asked}))); then # whoever killed the watchers left the processes
    for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null; done
    say "the job was killed, as what watched over it was; resume with:$resume"
    exit 137
  fi
  if [[ $killed ]]; then
    say "killed by the second signal; resume with:$resume"
    exit "$killed"
  fi
  if [[ ! $first && $asked ]]; then
    say "stopped by SIG$asked; resume with:$resume"
    exit 0
  fi
  [[ $first || $stopped ]] || exit 0
  [[ $first ]] || first=$stopped status=75
  ended=$(describe "$first" "$status")
  if [[ $asked ]] || ((status <= 2 || restart > restarts)); then
    say "$ended; resume with:$resume"
    exit "$status"
  fi
  delay=$((restart > 5 ? 30 : 2 ** (restart - 1)))
  say "$ended; restart $restart of $restarts follows in $delay s"
done
