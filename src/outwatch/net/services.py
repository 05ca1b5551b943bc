"""Names of services by port and transport, as IANA's service name and transport protocol port number registry has them (read in 2025).

Only those that a person is likely to meet; what really runs on a port is another matter.
"""

from functools import cache

_BOTH = """
7 echo, 9 discard, 13 daytime, 19 chargen, 37 time, 53 domain, 88 kerberos, 111 sunrpc, 123 ntp, 161 snmp, 162 snmptrap, 389 ldap,
427 svrloc, 443 https, 464 kpasswd, 500 isakmp, 546 dhcpv6-client, 547 dhcpv6-server, 554 rtsp, 623 asf-rmcp, 631 ipp,
636 ldaps, 749 kerberos-adm, 853 domain-s, 1194 openvpn, 1433 ms-sql-s, 1434 ms-sql-m, 1701 l2tp, 1812 radius,
1813 radius-acct, 1883 mqtt, 1900 ssdp, 2049 nfs, 2375 docker, 2376 docker-s, 3128 ndl-aas, 3260 iscsi-target, 3268 msft-gc,
3306 mysql, 3389 ms-wbt-server, 3478 stun, 4369 epmd, 4500 ipsec-nat-t, 4789 vxlan, 5060 sip, 5061 sips, 5222 xmpp-client,
5228 hpvroom, 5269 xmpp-server, 5349 stuns, 5353 mdns, 5355 llmnr, 5432 postgresql, 5671 amqps, 5672 amqp, 5683 coap, 5684 coaps,
5900 rfb, 5938 teamviewer, 5985 wsman, 5986 wsmans, 6379 redis, 8080 http-alt, 8443 pcsync-https, 8883 secure-mqtt,
9100 hp-pdl-datastr, 9418 git, 10050 zabbix-agent, 10051 zabbix-trapper, 11211 memcache, 27017 mongodb
"""
_TCP = """
20 ftp-data, 21 ftp, 22 ssh, 23 telnet, 25 smtp, 43 nicname, 49 tacacs, 70 gopher, 79 finger, 80 http, 109 pop2, 110 pop3, 113 ident,
119 nntp, 135 epmap, 139 netbios-ssn, 143 imap, 179 bgp, 194 irc, 445 microsoft-ds, 465 submissions, 513 login, 514 shell, 515 printer,
543 klogin, 544 kshell, 563 nntps, 587 submission, 873 rsync, 902 ideafarm-door, 989 ftps-data, 990 ftps, 992 telnets, 993 imaps,
995 pop3s, 1080 socks, 1352 lotusnote, 1521 ncube-lm, 1723 pptp, 3690 svn, 6667 ircu, 6697 ircs-u, 9200 wap-wsp
"""
_UDP = """
67 bootps, 68 bootpc, 69 tftp, 137 netbios-ns, 138 netbios-dgm, 514 syslog, 520 router, 521 ripng, 3702 ws-discovery
"""


def service(port: int | None, transport: str | None) -> str | None:
    """Give the registered name of a port, or ``None``."""
    return _names().get((port, transport))


@cache
def _names() -> dict[tuple[int | None, str | None], str]:
    kinds = ((_BOTH, ("tcp", "udp")), (_TCP, ("tcp",)), (_UDP, ("udp",)))
    return {
        (int(port), transport): name
        for text, transports in kinds
        for port, name in (entry.split() for entry in text.replace("\n", " ").split(","))
        for transport in transports
    }
