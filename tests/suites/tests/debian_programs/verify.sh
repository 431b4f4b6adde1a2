# What work.sh has left in the folder $1 is still there, for the same programs.
set -eu
cd "$1"
pass() { echo "[PASS] $*"; }
export HOME="$1" GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat

sha256sum -c sums >checked 2>&1 || { grep -v ': OK$' checked; exit 1; }
pass "every byte of $(wc -l <sums) files"
fio --name=kept --filename=kept --rw=randwrite --bs=4k --size=8m --ioengine=psync \
    --verify=sha256 --verify_fatal=1 --verify_only --minimal >fio.verified
pass "fio: verifies what it wrote"
for mode in delete truncate wal; do
    [ "$(sqlite3 "$mode.db" "select count(*) >= 2000 from t; pragma integrity_check; select count(*) from t where v = 'lost';")" = "1
ok
0" ]
done
[ "$(sqlite3 delete.db "select count(*) from t where v in ('a', 'b');")" = 24 ]
pass "sqlite3: the databases are whole"
cd repository
git fsck --full --strict --no-progress 2>&1
[ "$(git rev-parse HEAD)" = "$(cat ../head)" ]
[ -z "$(git status --porcelain)" ]
[ "$(git rev-list --count HEAD)" = 10 ]
pass "git: the history is whole and the work tree clean"
