"""Names of the numbers in DNS messages (IANA, "Domain Name System (DNS) Parameters", read in 2026)."""

from types import MappingProxyType

TYPES = MappingProxyType(
    {
        number: name
        for numbers, text in (
            (range(1, 27), "A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY PX"),
            (range(27, 44), "GPOS AAAA LOC NXT EID NIMLOC SRV ATMA NAPTR KX CERT A6 DNAME SINK OPT APL DS"),
            (range(44, 54), "SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA SMIMEA"),
            (range(55, 69), "HIP NINFO RKEY TALINK CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS DSYNC HHIT BRID"),
            (range(99, 110), "SPF UINFO UID GID UNSPEC NID L32 L64 LP EUI48 EUI64"),
            (range(249, 263), "TKEY TSIG IXFR AXFR MAILB MAILA ANY URI CAA AVC DOA AMTRELAY RESINFO WALLET"),
            (range(32768, 32770), "TA DLV"),
        )
        for number, name in zip(numbers, text.split(), strict=True)
    }
)
"""Types of records; 255, ``*`` with IANA, is called ANY as everywhere else."""

RCODES = MappingProxyType(
    {
        number: name
        for numbers, text in (
            (range(12), "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET NOTAUTH NOTZONE DSOTYPENI"),
            (range(16, 24), "BADVERS BADKEY BADTIME BADMODE BADNAME BADALG BADTRUNC BADCOOKIE"),
        )
        for number, name in zip(numbers, text.split(), strict=True)
    }
)
"""Response codes, in capitals."""


def type_name(number: int) -> str:
    """Name a type of records; one without a name as RFC 3597 has it (``TYPE731``)."""
    return TYPES.get(number) or f"TYPE{number}"


def rcode_name(number: int) -> str:
    """Name a response code; one without a name by its number (``RCODE12``)."""
    return RCODES.get(number) or f"RCODE{number}"
