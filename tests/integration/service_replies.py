"""What the providers document as their replies, with made-up facts: bodies of the local service."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NAMES = ("malicious", "suspicious", "clean", "no_data")
Reply = tuple[int, Any]  # status, JSON

_VT_STATS = {
    "malicious": {"harmless": 50, "malicious": 8, "suspicious": 2, "undetected": 30, "timeout": 0},
    "suspicious": {"harmless": 60, "malicious": 1, "suspicious": 1, "undetected": 28, "timeout": 0},
    "clean": {"harmless": 65, "malicious": 0, "suspicious": 0, "undetected": 25, "timeout": 0},
}
_ABUSE = {"malicious": (100, 250), "suspicious": (40, 6), "clean": (0, 0), "no_data": (0, 0)}


def virustotal(value: str, name: str, facts: dict[str, Any]) -> Reply:
    if name == "no_data":
        return 404, {"error": {"code": "NotFoundError", "message": f'"{value}" not found'}}
    attributes = {
        "last_analysis_stats": {**_VT_STATS[name], **facts},
        "reputation": 0,
        "as_owner": "Example Networks",
        "asn": 64500,
        "country": "NL",
        "tags": ["suspicious-udp"] if name == "malicious" else [],
    }
    return 200, {"data": {"id": value, "type": "ip_address", "links": {}, "attributes": attributes}}


def abuseipdb(value: str, name: str, facts: dict[str, Any]) -> Reply:
    score, reports = _ABUSE[name]
    found = {
        "ipAddress": value,
        "isPublic": True,
        "ipVersion": 6 if ":" in value else 4,
        "isWhitelisted": None if name == "no_data" else False,
        "abuseConfidenceScore": score,
        "countryCode": "NL",
        "usageType": "Data Center/Web Hosting/Transit",
        "isp": "Example Networks",
        "domain": "example.net",
        "hostnames": [],
        "isTor": False,
        "totalReports": reports,
        "numDistinctUsers": min(reports, 20),
        "lastReportedAt": "2025-07-01T12:00:00+00:00" if reports else None,
    }
    return 200, {"data": {**found, **facts}}


def ipinfo(value: str, name: str, facts: dict[str, Any]) -> Reply:
    if name == "no_data":
        return 404, {"status": 404, "error": {"title": "Wrong ip", "message": "Please provide a valid IP address"}}
    found = {
        "ip": value,
        "asn": "AS64500",
        "as_name": "Example Networks",
        "as_domain": "example.net",
        "country_code": "NL",
        "country": "Netherlands",
        "continent_code": "EU",
        "continent": "Europe",
    }
    return 200, {**found, **facts}


def ipinfo_json(value: str, name: str, facts: dict[str, Any]) -> Reply:
    status, body = ipinfo(value, name, {})
    if status != 200:
        return status, body
    found = {
        "ip": value,
        "hostname": "host.example.net",
        "city": "Amsterdam",
        "region": "North Holland",
        "country": "NL",
        "loc": "52.3740,4.8897",
        "org": "AS64500 Example Networks",
        "postal": "1012",
        "timezone": "Europe/Amsterdam",
    }
    return 200, {**found, **facts}


def greynoise(value: str, name: str, facts: dict[str, Any]) -> Reply:
    if name == "no_data":
        message = "IP not observed scanning the internet or contained in RIOT data set."
        return 404, {"ip": value, "noise": False, "riot": False, "message": message}
    found = {
        "ip": value,
        "noise": name != "clean",
        "riot": name == "clean",
        "classification": {"malicious": "malicious", "suspicious": "unknown", "clean": "benign"}[name],
        "name": "Example Resolver" if name == "clean" else "unknown",
        "link": f"https://viz.greynoise.io/ip/{value}",
        "last_seen": "2025-07-01",
        "message": "Success",
    }
    return 200, {**found, **facts}


def internetdb(value: str, name: str, facts: dict[str, Any]) -> Reply:
    if name == "no_data":
        return 404, {"detail": "No information available"}
    found = {
        "cpes": ["cpe:/a:openbsd:openssh"],
        "hostnames": ["host.example.net"],
        "ip": value,
        "ports": [22, 443],
        "tags": ["cloud", "malware"] if name == "malicious" else ["cloud"],
        "vulns": ["CVE-2023-48795"] if name != "clean" else [],
    }
    return 200, {**found, **facts}


def otx(value: str, name: str, facts: dict[str, Any]) -> Reply:
    count = {"malicious": 12, "suspicious": 1, "clean": 0, "no_data": 0}[name]
    known_good = [{"source": "whitelist", "message": "Whitelisted", "name": "Whitelisted IP"}] if name == "clean" else []
    pulses = [{"id": f"{at:024x}", "name": f"Campaign {at}", "tags": ["c2"]} for at in range(min(count, 3))]
    found = {
        "indicator": value,
        "whois": f"http://whois.domaintools.com/{value}",
        "reputation": 0,
        "pulse_info": {"count": count, "pulses": pulses, "references": []},
        "validation": known_good,
        "asn": "AS64500 Example Networks",
        "country_code": "NL",
    }
    return 200, {**found, **facts}


MAKERS: dict[str, Callable[[str, str, dict[str, Any]], Reply]] = {
    "virustotal": virustotal,
    "abuseipdb": abuseipdb,
    "ipinfo": ipinfo,
    "greynoise": greynoise,
    "internetdb": internetdb,
    "otx": otx,
}

KEY_HEADERS = {
    "virustotal": "x-apikey",
    "abuseipdb": "key",
    "ipinfo": "authorization",
    "greynoise": "key",
    "otx": "x-otx-api-key",
}

WRONG_KEY: dict[str, Reply] = {
    "virustotal": (401, {"error": {"code": "WrongCredentialsError", "message": "Wrong API key"}}),
    "abuseipdb": (
        401,
        {"errors": [{"detail": "Authentication failed. Your API key is either missing, incorrect, or revoked.", "status": 401}]},
    ),
    "ipinfo": (403, {"status": 403, "error": {"title": "Unknown token", "message": "Please ensure you've entered your token correctly."}}),
    "greynoise": (401, {"message": "Invalid API key"}),
    "internetdb": (401, {"detail": "Unauthorized"}),
    "otx": (403, {"detail": "Invalid API key"}),
}

TOO_MANY: dict[str, Reply] = {
    "virustotal": (429, {"error": {"code": "QuotaExceededError", "message": "Quota exceeded"}}),
    "abuseipdb": (429, {"errors": [{"detail": "Daily rate limit of 1000 requests exceeded for this endpoint.", "status": 429}]}),
    "ipinfo": (429, {"status": 429, "error": {"title": "Rate limit exceeded", "message": "Upgrade to increase your usage limits"}}),
    "greynoise": (429, {"message": "You have hit the daily rate limit of 100 requests per day."}),
    "internetdb": (429, {"detail": "Rate limit exceeded"}),
    "otx": (429, {"detail": "Request was throttled."}),
}


def indicator_of(provider: str, target: str) -> str | None:
    """Read the indicator from a request's target below the provider's base URL; ``None`` if the provider has no such path."""
    parts = urlsplit(target)
    steps = [unquote(step) for step in parts.path.split("/")[1:]]
    match provider, steps:
        case "virustotal", ["api", "v3", "ip_addresses" | "domains" | "files", value]:
            return value
        case "abuseipdb", ["api", "v2", "check"]:
            found = parse_qs(parts.query).get("ipAddress", [])
            return found[0] if len(found) == 1 else None
        case (
            ("ipinfo", ["lite", value]) | ("ipinfo", [value, "json"]) | ("greynoise", ["v3", "community", value]) | ("internetdb", [value])
        ):
            return value
        case "otx", ["api", "v1", "indicators", "IPv4" | "IPv6" | "domain" | "hostname" | "file", value, "general"]:
            return value
    return None
