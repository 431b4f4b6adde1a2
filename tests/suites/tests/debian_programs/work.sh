# What Debian's programs do in the folder $1; a [PASS] line for each thing that held. verify.sh looks at it later.
set -eu
cd "$1"
pass() { echo "[PASS] $*"; }
export HOME="$1" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_PAGER=cat

# fio: random writes of two processes, read back and compared; then through mappings; then left for later.
fio --name=mixed --directory=. --rw=randrw --bs=4k --size=4m --numjobs=2 --fsync=32 --ioengine=psync \
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --minimal >fio.mixed
rm -f mixed.*
pass "fio: two processes read what they wrote"
fio --name=mapped --filename=mapped --rw=randwrite --bs=4k --size=4m --fsync=64 --ioengine=mmap \
    --verify=crc32c --verify_fatal=1 --minimal >fio.mapped
rm -f mapped
pass "fio: through mappings too"
fio --name=kept --filename=kept --rw=randwrite --bs=4k --size=8m --end_fsync=1 --ioengine=psync \
    --verify=sha256 --do_verify=0 --minimal >fio.kept
pass "fio: wrote a file for later"

# SQLite: a rollback journal, a write-ahead log (whose index is a shared mapping), two writers at once.
for mode in delete truncate wal; do
    sqlite3 "$mode.db" "pragma journal_mode=$mode; create table t(id integer primary key, v text);" >/dev/null
    for n in 1 2 3 4 5 6 7 8 9 10; do
        echo "begin; with recursive c(x) as (select 1 union all select x+1 from c where x<200)
              insert into t(v) select hex(randomblob(40)) from c; update t set v = 'u' || v where id % 7 = $n % 7; commit;"
    done >script.sql
    echo "insert into t(v) values('lost'); rollback;" | sed 's/^/begin; /' >>script.sql
    sqlite3 "$mode.db" <script.sql
    [ "$(sqlite3 "$mode.db" 'select count(*) from t; pragma integrity_check;')" = "2000
ok" ]
    pass "sqlite3: ten transactions with journal_mode=$mode"
done
writer() {
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
        sqlite3 -cmd '.timeout 60000' delete.db "begin immediate; insert into t(v) values('$1'); commit;" >/dev/null
    done
}
writer a & writer b & wait
[ "$(sqlite3 delete.db "select count(*) from t where v in ('a', 'b');")" = 24 ]
pass "sqlite3: two writers wait for each other"

# git: a history with a merge, packed.
git init -q -b main repository
cd repository
git config user.name tester
git config user.email tester@example.org
git config core.fsync all
mkdir -p a/b/c
for n in 1 2 3 4 5 6 7 8; do
    for f in 1 2 3 4 5 6; do seq "$n" "$((n * 40 + f))" >"a/b/file$f"; echo "$n $f" >>"a/b/c/log"; done
    git add -A
    git commit -q -m "commit $n"
done
git switch -q -c side HEAD~3
echo side >side
git add side
git commit -q -m side
git switch -q main
git merge -q --no-ff -m merge side
git fsck --full --strict --no-progress 2>&1
pass "git: a history with a merge"
git gc -q --prune=now
[ "$(git count-objects -v | grep '^count:')" = "count: 0" ]
git fsck --full --strict --no-progress 2>&1
git clone -q . ../clone
[ "$(git -C ../clone rev-parse HEAD)" = "$(git rev-parse HEAD)" ]
pass "git: packed, and cloned"
git rev-parse HEAD >../head
cd ..
find . -type f ! -path './*.db-*' ! -name sums | sort | xargs sha256sum >sums
sync
pass "everything is synchronised"
