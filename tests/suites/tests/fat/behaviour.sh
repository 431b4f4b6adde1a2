# What a FAT32 does, line by line: the same on Linux. Run with the mount point; the disk is /dev/vda.
m=$1
cd "$m" || exit 1
# What a command said of its failure, without the program's own name and paths.
why() { "$@" 2>&1 >/dev/null | sed 's/.*: //' | head -1; }

echo "== names"
echo one > config.txt
cat CONFIG.TXT Config.txt
echo two > "A long name, with signs+and ünïcode ☃.txt"
ls | sort
cat "a LONG name, with signs+and Ünïcode ☃.txt"
cat "alongn~1.txt"
why cat absent
why sh -c 'echo x > "bad:name"'
why sh -c 'echo x > "bad?name"'
echo dots > "dotted..."
ls -d dotted
cat dotted.
n=$(printf '%0256d' 0); why sh -c "echo x > $n"
n=$(printf '%0255d' 0); echo long > "$n"; cat "$n"; rm "$n"
mkdir CONFIG.txt 2>&1 | sed 's/.*: //'

echo "== what FAT has not"
why ln config.txt hard
why ln -s config.txt soft
why mkfifo pipe
why chown 1000 config.txt
chown 0:0 config.txt && echo same owner
why chmod 4755 config.txt
chmod 600 config.txt; stat -c %A config.txt
chmod 444 config.txt; stat -c %A config.txt
chmod 755 config.txt; stat -c %A config.txt

echo "== moving"
mkdir d e
echo new > d/config.new
mv d/config.new config.txt
cat config.txt
ls d
mkdir d/sub && echo leaf > d/sub/leaf
mv d/sub e/moved
cat e/moved/leaf
why mv e e/moved
why rmdir e
why sh -c 'mv -T d e'
mv e/moved/leaf e/moved/LEAF.TXT
ls e/moved
mv e/moved/LEAF.TXT e/moved/leaf.txt; ls e/moved
rm -r e/moved && rmdir d e

echo "== content"
dd if=/dev/zero of=big bs=65536 count=20 2>/dev/null
stat -c '%s' big
echo end >> big
stat -c '%s' big
tail -c 4 big
dd if=/dev/urandom of=r bs=1000 count=777 2>/dev/null
md5sum < r > /tmp/sum
cp r s && md5sum < s | cmp - /tmp/sum && echo same
printf x | dd of=r bs=1 seek=900000 conv=notrunc 2>/dev/null
stat -c '%s' r
head -c 777000 r | md5sum | cmp - /tmp/sum && echo same before the gap
tail -c +777001 r | head -c 123000 | tr -d '\0' | wc -c
truncate -s 100 r; truncate -s 5000 r
head -c 100 s > /tmp/head; head -c 100 r | cmp - /tmp/head && echo the beginning is kept
tail -c +101 r | tr -d '\0' | wc -c
truncate -s 0 r; stat -c '%s %b' r
why truncate -s 5G r
stat -c '%s' r
exec 3< s; rm s; md5sum <&3 | cmp - /tmp/sum && echo removed and still read; exec 3<&-

echo "== programs and memory"
cp /bin/busybox busybox && ./busybox echo runs from FAT

echo "== times"
touch -d '2020-02-03 04:05:07' t; stat -c '%y' t | cut -c1-19
touch -d '1970-01-01 00:00:10' t; stat -c '%y' t | cut -c1-10

echo "== room"
stat -f -c '%s %b' "$m"
df -h "$m" >/dev/null && echo df
grep -c " $m vfat rw" /proc/mounts
why sh -c 'dd if=/dev/zero of=full bs=1M count=100'
rm full
echo room again > small && cat small
why umount "$m"
sync
