#!/usr/bin/env bash
# systemd 252 (Debian 12): `systemd-analyze --user verify` finds nothing wrong with units that the
# systemd of a user cannot start. ProtectKernelLogs=, ProtectKernelModules=, ProtectClock=,
# PrivateDevices= and CapabilityBoundingSet= all drop capabilities; without root that fails, and the
# service ends with 218 (CAPABILITIES) before its program runs. `security` asks for each of them.
#
# Needs root (for namespaces, and to be another user), systemd, util-linux. Nothing is installed; a
# systemd of user 4321 runs in namespaces of its own, and ends with them.
set -euo pipefail
folder=$(mktemp -d)
group=finding-$$
finish() {
  rm -rf "$folder"
  for root in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [[ -d $root/$group ]]; then find "$root/$group" -depth -type d -exec rmdir {} \;; fi
  done
}
trap finish EXIT
units=$folder/.config/systemd/user
mkdir -p "$units" "$folder/run"
chmod 711 "$folder"
for line in NoNewPrivileges=yes ProtectKernelLogs=yes ProtectKernelModules=yes ProtectClock=yes \
  PrivateDevices=yes CapabilityBoundingSet=; do
  printf '[Service]\nType=oneshot\n%s\nExecStart=true\n' "$line" >"$units/${line%%=*}.service"
done
chown -R 4321:4321 "$folder"
for unit in "$units"/*.service; do
  HOME=$folder XDG_RUNTIME_DIR=$folder/run systemd-analyze --user verify "$unit"
done
echo "verify: nothing wrong with any of them"
cat >"$folder/inside" <<'EOF'
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/4321
chown 4321:4321 /run/user/4321
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$2"
echo $$ >"/sys/fs/cgroup/$2/cgroup.procs"
chown -R 4321:4321 "/sys/fs/cgroup/$2"
mount -t proc proc /proc
export HOME=$1 XDG_RUNTIME_DIR=/run/user/4321
as_user="setpriv --reuid 4321 --regid 4321 --clear-groups"
$as_user /lib/systemd/systemd --user --log-target=null >/dev/null 2>&1 &
until $as_user systemctl --user show --property=Version >/dev/null 2>&1; do sleep 0.2; done
for unit in "$1"/.config/systemd/user/*.service; do
  name=$(basename "$unit")
  $as_user systemctl --user start "$name" >/dev/null 2>&1 || true
  echo "${name%.service}: $($as_user systemctl --user show --property=ExecMainStatus "$name")"
done
kill %1
EOF
unshare --mount --pid --fork --kill-child bash "$folder/inside" "$folder" "$group" \
  | tee "$folder/said"
[[ $(grep -c 'ExecMainStatus=218' "$folder/said") == 5 ]]
grep -q '^NoNewPrivileges: ExecMainStatus=0' "$folder/said"
