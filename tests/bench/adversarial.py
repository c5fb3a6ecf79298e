"""Flows whose hash is the same under a hash without a secret key, as an attacker would choose them.

CRC, Toeplitz and folding by XOR are linear: the hash of a sum of inputs is the sum of their hashes. So the inputs that
leave the low bits of the hash as they are form a space, and any number of flows can be taken from it.
"""

# Bits that a client is free in: its address's low bits and its port.
ADDRESS_BITS = 17
PORT_BITS = 16
PORT_MIN = 1024
# The key of Microsoft's RSS documents, which is what many NICs start with.
RSS_KEY = int("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa", 16)
RSS_KEY_BITS = 320


def crc32c(data):
    """The checksum that DPDK's rte_hash_crc and iSCSI use (RFC 3720), without the inversion at both ends."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def toeplitz(data):
    """The hash of RSS under the usual key."""
    value = 0
    for place in range(8 * len(data)):
        if data[place // 8] & 0x80 >> place % 8:
            value ^= RSS_KEY >> RSS_KEY_BITS - 32 - place & 0xFFFFFFFF
    return value


def xor_fold(data):
    """The 32-bit words of a tuple, one XOR the other."""
    value = 0
    for at in range(0, len(data), 4):
        value ^= int.from_bytes(data[at:at + 4], "big")
    return value


HASHES = {"crc32c": crc32c, "toeplitz": toeplitz, "xor": xor_fold}


def tuple_bytes(address, port, vip, vip_port):
    """Addresses and ports as on the wire, IPv4."""
    return b"".join((address.to_bytes(4, "big"), vip.to_bytes(4, "big"), port.to_bytes(2, "big"), vip_port.to_bytes(2, "big")))


def kernel(columns):
    """A basis of the sets of columns, each set as the bits of a number, whose XOR is 0."""
    pivots, found = {}, []
    for number, column in enumerate(columns):
        members = 1 << number
        while column:
            top = column.bit_length()
            if top not in pivots:
                pivots[top] = (column, members)
                break
            other, other_members = pivots[top]
            column, members = column ^ other, members ^ other_members
        else:
            found.append(members)
    return found


def colliding(hash_of, hash_bits, count, network, vip, vip_port):
    """So many pairs of client address and port with the same low `hash_bits` bits of the hash."""
    mask = (1 << hash_bits) - 1

    def flow(bits):
        return network | bits >> PORT_BITS, bits & (1 << PORT_BITS) - 1

    def hash_bits_of(bits):
        return hash_of(tuple_bytes(*flow(bits), vip, vip_port)) & mask

    zero = hash_bits_of(0)
    basis = kernel([hash_bits_of(1 << bit) ^ zero for bit in range(ADDRESS_BITS + PORT_BITS)])
    flows, bits = [], 0
    for number in range(1, 1 << len(basis)):
        # Gray code: from one sum to the next a single member of the basis changes.
        bits ^= basis[(number & -number).bit_length() - 1]
        if flow(bits)[1] >= PORT_MIN:
            flows.append(flow(bits))
            if len(flows) == count:
                return flows
    raise ValueError(f"only {len(flows)} of {count} flows collide in {hash_bits} bits")
