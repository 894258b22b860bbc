#!/bin/sh
# Makes the root file system $1 from the Debian mirror $2: Debian 12 with the Docker of Debian 13, which is the version nearest to OSISM's that there is a
# package of, with Compose as plugin.
set -eu
root=$1
mirror=$2
keep=$3 # folder for packages, so that a second build fetches nothing
mkdir -p "$keep"
debootstrap --variant=minbase --cache-dir="$keep" --include=ca-certificates bookworm "$root" "$mirror" </dev/null
printf 'deb %s trixie main\n' "$mirror" >"$root/etc/apt/sources.list.d/trixie.list"
printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' >"$root/etc/apt/preferences.d/trixie"
# no service is started here
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' >"$root/etc/dpkg/dpkg.cfg.d/small"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update
chroot "$root" apt-get install --yes --no-install-recommends \
  ansible-core curl dbus git iproute2 iptables kmod openssh-client openssh-server procps python3 python3-docker python3-jinja2 python3-yaml sudo \
  systemd systemd-sysv docker.io/trixie docker-cli/trixie docker-compose/trixie
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root/usr/sbin/policy-rc.d" "$root"/var/cache/apt/*.bin "$root/debootstrap"

# Users of OSISM and of kolla's containers
chroot "$root" groupadd --gid 42400 kolla
chroot "$root" groupadd --gid 45000 dragon
chroot "$root" useradd --uid 45000 --gid dragon --create-home --shell /bin/bash --groups docker dragon
printf 'dragon ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/dragon"
chmod 440 "$root/etc/sudoers.d/dragon"
printf 'UseDNS no\nPasswordAuthentication no\n' >"$root/etc/ssh/sshd_config.d/lab.conf"
# What would work on this machine instead of on the lab's
chroot "$root" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  getty.target console-getty.service systemd-modules-load.service systemd-remount-fs.service
chroot "$root" systemctl enable --quiet docker.service ssh.service
