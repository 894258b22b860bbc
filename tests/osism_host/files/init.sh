#!/bin/sh
# The lab machine's first process until systemd takes its place: $1 is the state folder, $2 the root file system, $3 the host's name.
set -e
state=$1
new=$state/root
until [ -n "$(ip route show default)" ]; do sleep 0.02; done
mkdir -p "$new" "$state/upper" "$state/work" "$state/docker"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$state/upper,workdir=$state/work" "$new"
mount -t proc proc "$new/proc"
mount --bind "$new/proc/sys" "$new/proc/sys"
mount --bind "$new/proc/sys/net" "$new/proc/sys/net"
# What is not of a namespace belongs to this machine's whole kernel.
mount -o remount,bind,ro "$new/proc/sys"
mount -t sysfs -o ro sysfs "$new/sys"
mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$new/dev"
for device in null zero full random urandom tty; do
  : >"$new/dev/$device"
  mount --bind "/dev/$device" "$new/dev/$device"
done
mkdir "$new/dev/pts" "$new/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$new/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$new/dev/shm"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
ln -s fd/0 "$new/dev/stdin"
ln -s fd/1 "$new/dev/stdout"
ln -s fd/2 "$new/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$new/run"
mount -t tmpfs -o mode=1777 tmpfs "$new/tmp"
# Docker's overlay2 can't lie on an overlay.
mkdir -p "$new/var/lib/docker"
mount --bind "$state/docker" "$new/var/lib/docker"
hostname "$3"
echo "$3" >"$new/etc/hostname"
# No name server: what asks for one is told at once that there is none.
echo nameserver 127.0.0.1 >"$new/etc/resolv.conf"
mkdir -p "$new/.old"
cd "$new"
pivot_root . .old
umount -l .old
rmdir .old
exec env -i container=scs-lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_module,-sys_time,-sys_boot --inh-caps=-sys_module,-sys_time,-sys_boot /lib/systemd/systemd "$state/root"
