# SPDX-License-Identifier: MIT OR Apache-2.0
# Another machine in the network, as far as services go: shares the folder
# $1 by NFS and SMB and lets anna in by SSH. Runs as the first process of
# namespaces of its own (see neighbour.rs), so that its ports, users and files
# are nobody else's. $2 are the versions of NFS; says "ready" when all listen.
set -eu

# This needs no more of the machine than its programs.
ip link set lo up
for folder in /run /var/lib/nfs /var/lib/samba /srv; do
    mount -t tmpfs none "$folder"
done
mkdir -p /run/ganesha /run/sshd /var/lib/nfs/ganesha /var/lib/samba/private
mkdir /srv/etc /srv/images
cp -r "$1"/. /srv/images
chmod -R a+rX /srv/images

# A user with a password that a person could have chosen.
password='se,cret/1'
cp -p /etc/passwd /etc/shadow /srv/etc
echo 'anna:x:4321:4321::/srv:/bin/sh' >>/srv/etc/passwd
echo "anna:$(openssl passwd -6 "$password"):20000::::::" >>/srv/etc/shadow
mount --bind /srv/etc/passwd /etc/passwd
mount --bind /srv/etc/shadow /etc/shadow

cat >/srv/etc/ganesha.conf <<END
NFS_CORE_PARAM { Protocols = $2; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; RecoveryBackend = fs; }
EXPORT {
    Export_Id = 1; Path = /srv/images; Pseudo = /srv/images;
    Protocols = $2; Access_Type = RW; Squash = None; SecType = sys;
    FSAL { Name = VFS; }
}
END
cat >/srv/etc/smb.conf <<END
[global]
server role = standalone server
disable netbios = yes
smb ports = 445
private dir = /srv/etc
map to guest = Bad User
load printers = no
log file = /srv/etc/smb.log
server min protocol = SMB2_02
# For all to see.
[open]
path = /srv/images
guest ok = yes
# For anna alone, and sealed on the way.
[private]
path = /srv
valid users = anna
read only = no
server smb encrypt = required
END
printf '%s\n%s\n' "$password" "$password" |
    smbpasswd -c /srv/etc/smb.conf -s -a anna >/dev/null 2>&1
ssh-keygen -q -t ed25519 -N '' -f /srv/etc/key
printf '%s\n' 'HostKey /srv/etc/key' 'UsePAM no' 'PasswordAuthentication yes' \
    >/srv/etc/sshd.conf

# NFS 3 is asked for its ports here.
rpcbind -w
ganesha.nfsd -F -f /srv/etc/ganesha.conf -L /srv/etc/ganesha.log -p /run/ganesha.pid &
smbd -F --no-process-group -s /srv/etc/smb.conf &
/usr/sbin/sshd -D -e -f /srv/etc/sshd.conf &

for port in 2049 445 22; do
    tries=0
    while ! ss -ltnH "sport = $port" | grep -q .; do
        tries=$((tries + 1))
        if [ "$tries" = 300 ]; then
            echo "nobody listens at port $port" >&2
            tail -n 20 /srv/etc/*.log >&2
            exit 1
        fi
        sleep 0.1
    done
done
echo ready
# Until all of this is killed.
wait
