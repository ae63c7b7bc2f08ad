#!/bin/sh
# Makes of a fresh Debian in ROOT the root file system of a node, and the files that kube-proxy's image needs of it.
#
#   rootfs.sh ROOT FILES TEMPLATE PROXY
#
# ROOT      what debootstrap has made
# FILES     the directory images/base/files of kind's sources
# TEMPLATE  the network configuration that containerd fills in
# PROXY     a directory to be: iptables with its libraries
#
# The units and the steps are those of kind's own base image; containerd, runc and the network plugins are Debian's.
set -eu
root=$1 files=$2 template=$3 proxy=$4

# kind's configuration wins over that of Debian's packages.
cp -R --no-preserve=mode,ownership "$files/etc" "$files/kind" "$files/usr" "$root/"
chmod 0755 "$root"/kind/bin/* "$root"/usr/local/bin/*

# Of systemd only what a node needs is started.
units=$root/usr/lib/systemd/system
rm -f "$units/sysinit.target.wants/systemd-tmpfiles-setup.service"
for target in multi-user local-fs basic; do
    rm -f "$units/$target.target.wants"/*
done
rm -f "$units"/sockets.target.wants/*udev* "$units"/sockets.target.wants/*initctl*
rm -f "$root"/etc/systemd/system/*.wants/*
echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
ln -sf /usr/lib/systemd/systemd "$root/sbin/init"
chroot "$root" systemctl --quiet enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$root" systemctl --quiet mask systemd-binfmt.service

# kind's units look for programs where its own image has them.
for program in containerd containerd-shim-runc-v2 ctr; do
    ln -s "/usr/bin/$program" "$root/usr/local/bin/$program"
done
ln -s /usr/sbin/runc "$root/usr/local/sbin/runc"
mkdir -p "$root/etc/kubernetes/manifests" "$root/etc/cni/net.d" "$root/opt/cni/bin"
for plugin in host-local loopback portmap ptp; do
    cp "$root/usr/lib/cni/$plugin" "$root/opt/cni/bin/"
done

# What every container starts from: limits are left to containerd, product files are mounted by kind's hook.
# shellcheck disable=SC2016
chroot "$root" sh -c 'ctr oci spec | jq "del(.process.rlimits) |
    .hooks.createContainer += [{path: \"/kind/bin/mount-product-files.sh\"}]" >/etc/containerd/cri-base.json'

# Processes may be protected from the OOM killer only as far as the node itself is: it may lack the right to more.
config=$root/etc/containerd/config.toml
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$config"
grep -q 'restrict_oom_score_adj = true' "$config"
# Pods' networks without a DaemonSet: containerd writes the configuration when the kubelet knows the node's range.
cp "$template" "$root/etc/cni/kind.template"
cat >>"$config" <<'TOML'

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
  conf_template = "/etc/cni/kind.template"
TOML

# kube-proxy calls iptables: the program under all its names, its extensions, all libraries and their loader.
mkdir -p "$proxy/run" "$proxy/tmp" "$proxy/usr/sbin"
chroot "$root" sh -c 'set -e
    ls /usr/lib/*/xtables/*.so
    ldd /usr/sbin/xtables-nft-multi /usr/lib/*/xtables/*.so | grep -o "/[^ :]*\.so[^ :]*"' | sort -u |
    while read -r file; do
        mkdir -p "$proxy$(dirname "$file")"
        cp -L "$root$file" "$proxy$file"
    done
cp "$root/usr/sbin/xtables-nft-multi" "$proxy/usr/sbin/"
for family in iptables ip6tables; do
    for end in '' -save -restore; do
        ln -s xtables-nft-multi "$proxy/usr/sbin/$family$end"
    done
done
chroot "$proxy" /usr/sbin/iptables -V >/dev/null

# What nobody reads.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root/usr/lib/cni" \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/* \
    "$root"/debootstrap "$root"/tmp/*
