#!/usr/bin/env bash
# Other people's clients against a running `habeas up`, set up by the command line as its users do.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet -p habeas
habeas=target/debug/habeas
work=$(mktemp -d)
server="" witness=""
stop() {
    [ -n "$witness" ] && kill "$witness" 2>/dev/null
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    rm -rf "$work"
}
trap stop EXIT
data=$work/data

"$habeas" up --data "$data" --listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q '^data:' "$work/up.log" && break; sleep 0.1; done
mint=$(sed -n 's/^mint: //p' "$work/up.log")
[ -n "$mint" ] || { cat "$work/up.log"; echo "habeas up did not start" >&2; exit 1; }

for pair in rita:registrar olga:programme-officer omar:programme-officer fina:finance-officer; do
    "$habeas" officer "${pair%%:*}" --role "${pair##*:}" --data "$data" >/dev/null
done
"$habeas" enrol examples/people.csv --map examples/people.map.toml --as rita --data "$data" \
    --refused "$work/refused.csv" --offers "$work/offers" >/dev/null 2>"$work/refused.log" ||
    grep -q "rows were refused" "$work/refused.log" || { cat "$work/refused.log"; exit 1; }
"$habeas" programme "Food allowance" --amount 50.00 --period 2026-12 --rule everyone --as olga --data "$data" >"$work/programme"
programme=$(sed -n 's/^programme: //p' "$work/programme")
reference=$(sed -n 's/.*reference //p' "$work/programme")
"$habeas" bank --id S-1 --deposit "$reference=4000.00" >"$work/S-1.xml"
"$habeas" fund "$work/S-1.xml" --as fina --data "$data" >/dev/null
"$habeas" run prepare "$programme" --as olga --data "$data" >"$work/run"
run=$(sed -n 's/^run: //p' "$work/run")
hash=$(sed -n 's/^hash: //p' "$work/run")
if "$habeas" run approve "$run" --hash "$hash" --as olga --data "$data" >/dev/null 2>&1; then
    echo "the officer who prepared a run could approve it" >&2; exit 1
fi
"$habeas" run approve "$run" --hash "$hash" --as omar --data "$data" >/dev/null
"$habeas" merchant "Corner shop" --iban DE89370400440532013000 --till "$work/till.json" --as fina --data "$data" >/dev/null
merchant=$(sed -n 's/.*"id": "\(.*\)",/\1/p' "$work/till.json" | head -1)

# Our wallet makes a token; cashu-ts takes it and makes one for our wallet; the money is all there at the end.
line() { sed -n "$2p" "$work/$1"; }
"$habeas" wallet init --wallet "$work/a.json" --offer "$(line offers 1)" --code "$(line offers.codes 1)" >/dev/null
"$habeas" wallet collect --wallet "$work/a.json" >/dev/null
token=$("$habeas" wallet send 12.34 --wallet "$work/a.json")
offer=$(line offers 2)
printf '{"mint":"%s","unit":"usd","token":"%s","offer":"%s","code":"%s","merchant":"%s"}' \
    "$mint" "$token" "$offer" "$(line offers.codes 2)" "$merchant" |
    node tests/clients/cashu-ts/client.mjs | tee "$work/client.log" | grep -v "^cashuB"
"$habeas" wallet receive "$(tail -1 "$work/client.log")" --wallet "$work/a.json"
balance=$("$habeas" wallet balance --wallet "$work/a.json")
[ "$balance" = "43.83 usd" ] || { echo "the wallet holds $balance, not 43.83 usd" >&2; exit 1; }

# The same with nutshell, the reference wallet: 20.00 go out, change hands there, and come back.
token=$("$habeas" wallet send 20.00 --wallet "$work/a.json")
printf '{"mint":"%s","unit":"usd","token":"%s"}' "$mint" "$token" |
    target/nutshell/bin/python tests/clients/nutshell/client.py | tee "$work/client.log" | grep -v "^cashuB"
"$habeas" wallet receive "$(tail -1 "$work/client.log")" --wallet "$work/a.json"
balance=$("$habeas" wallet balance --wallet "$work/a.json")
[ "$balance" = "43.83 usd" ] || { echo "the wallet holds $balance, not 43.83 usd" >&2; exit 1; }

# Lost and restored from the words alone.
"$habeas" wallet restore --wallet "$work/b.json" --offer "$offer" --pace-ms 0 \
    --words "$("$habeas" wallet words --wallet "$work/a.json")" 2>/dev/null | grep "restored 43.83 usd" >/dev/null
echo "ok   our wallet's money is restored from its words"
"$habeas" log verify "$mint/log" --state "$work/checkpoint" >/dev/null
"$habeas" log mine --wallet "$work/a.json" | grep issue-credential >/dev/null
echo "ok   log verified, own entries found"

# The log, judged by a program that has nothing of ours: a checkpoint, a witness's cosignature, an entry.
python=target/pymdoccbor/bin/python
"$habeas" witness --log "$mint/log" --name witness.example --listen 127.0.0.1:0 --data "$work/witness" >"$work/witness.log" &
witness=$!
for _ in $(seq 100); do grep -q '^key:' "$work/witness.log" && break; sleep 0.1; done
witness_key=$(sed -n 's/^key: //p' "$work/witness.log")
log_key=$(sed -n 's/^log key: //p' "$work/up.log")
"$habeas" log witness add "$(sed -n 's/^witness: //p' "$work/witness.log")" "$witness_key" --quorum 1 --data "$data" >/dev/null
for _ in $(seq 100); do grep -q witness.example "$data/log/public/checkpoint" && break; sleep 0.1; done
"$python" tests/clients/tlog/client.py "$mint/log" "$log_key" 7 "$witness_key"
"$habeas" log mine --wallet "$work/a.json" --proofs "$work/mine.json" >/dev/null
"$python" tests/clients/tlog/client.py --evidence "$work/mine.json" "$log_key"
"$habeas" log witness remove witness.example --quorum 0 --data "$data" >/dev/null
kill -TERM "$witness"; wait "$witness"; witness=""

# Other people's wallets get credentials and show them to our verifier; other people's verifiers judge what we issued.
"$habeas" relying-party register "City pool" --identifier NTRUT-1 --purpose "Cheaper tickets for adults" \
    --legal-basis "Bathing act" --attributes given_name,age_over_18 --out "$work/party.json" --data "$data" >/dev/null
"$habeas" verify age_over_18 --relying-party "$work/party.json" >"$work/verify.log" 2>&1 &
verify=$!
for _ in $(seq 100); do grep -q '^openid4vp:' "$work/verify.log" && break; sleep 0.1; done
"$habeas" wallet show "$(grep '^openid4vp:' "$work/verify.log")" --yes --wallet "$work/a.json" >/dev/null 2>&1
wait "$verify"
grep -qx "age_over_18: yes" "$work/verify.log" || { cat "$work/verify.log"; exit 1; }
echo "ok   our wallet shows an age at a terminal"
printf '{"habeas":"%s","data":"%s","registrar":"rita","party":"%s","offers":[{"link":"%s","code":"%s"},{"link":"%s","code":"%s"}]}' \
    "$habeas" "$data" "$work/party.json" "$(line offers 3)" "$(line offers.codes 3)" "$(line offers 4)" "$(line offers.codes 4)" |
    node tests/clients/openid4vc/client.mjs | tee "$work/client.log" | grep -v "^{"
tail -1 "$work/client.log" | target/pymdoccbor/bin/python tests/clients/pymdoccbor/client.py
"$habeas" audit --data "$data" | tail -1 | grep -x balanced >/dev/null
kill -TERM "$server"; wait "$server"; server=""
"$habeas" audit --data "$data" | tail -1 | grep -x balanced >/dev/null
echo "ok   audit balanced, beside the server and after it"

# An operator puts another log in the place of the one that a monitor saw. What the monitor keeps convicts it, for others, too.
tampered=$work/tampered
up_tampered() {
    "$habeas" up --data "$tampered" --listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do grep -q '^data:' "$work/up.log" && break; sleep 0.1; done
    mint=$(sed -n 's/^mint: //p' "$work/up.log")
}
up_tampered
log_key=$(sed -n 's/^log key: //p' "$work/up.log")
"$habeas" officer olga --role programme-officer --data "$tampered" >/dev/null
"$habeas" monitor "$mint" --key "$log_key" --data "$work/monitor" --once >/dev/null
kill -TERM "$server"; wait "$server"; server=""
rm -r "$tampered/log/public" "$tampered/log/checkpoint"
up_tampered
for amount in $(seq 20); do
    "$habeas" programme "Food" --amount "$amount" --period 2026-12 --rule everyone --as olga --data "$tampered" >/dev/null
done
if "$habeas" monitor "$mint" --key "$log_key" --data "$work/monitor" --once >"$work/monitor.log" 2>&1; then
    echo "a log that was rewritten was not noticed" >&2; exit 1
fi
grep -q "ALARM: the log rewrote" "$work/monitor.log" || { cat "$work/monitor.log" >&2; exit 1; }
for evidence in "$work"/monitor/alarms/*.json; do
    "$habeas" evidence "$evidence" --key "$log_key"
    "$python" tests/clients/tlog/client.py --evidence "$evidence" "$log_key"
done
kill -TERM "$server"; wait "$server"; server=""
echo "ok   a rewritten log is convicted by what a monitor keeps"
