"""The project's nft tables; no other program's is ever named."""

from vipnft.ruleset.nftjson import Table

NETDEV = Table("netdev", "vipnft")
ARP = Table("arp", "vipnft")
INET = Table("inet", "vipnft")
TABLES = (NETDEV, ARP, INET)
