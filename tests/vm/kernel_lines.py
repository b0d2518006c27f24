"""Command lines for a kernel with 4 CPUs and 2 nodes: spellings that are known to be traps, and generated ones.

Parameters of different subsystems do not know of each other, so a line has one case of each and a boot tries several.
"""

from __future__ import annotations

import random
from itertools import zip_longest

ISOLATION = [
    "isolcpus=2-3",
    "isolcpus=domain,2 isolcpus=domain,3",
    "isolcpus=managed_irq,2-3 isolcpus=domain,2-3",
    "isolcpus=managed_irq,domain,2-3 nohz_full=3",
    "isolcpus=nohz,2-3 nohz_full=3",
    "nohz_full=2 nohz_full=2-3",
    "nohz_full=2-3 isolcpus=nohz,domain,3",
    "isolcpus=nohz,domain,2-3 nohz-full=3,2 rcu-nocbs=1",
    "isolcpus=future_flag,2",
    "isolcpus=do-main,2",
    "isolcpus=domain2,2",
    "isolcpus=Domain,2",
    "isolcpus=domain,2-9",
    "isolcpus=2,9 nohz_full=3-4",
    "isolcpus=2-N nohz_full=N-N",
    "isolcpus=n nohz_full=2-n",
    "isolcpus=domain,all nohz_full=all",
    "isolcpus=0-N nohz_full=0-2",
    "isolcpus=0-3:1/2 nohz_full=1-3:2/3 rcu_nocbs=1-3:0/2",
    "isolcpus=2:1/2",
    "nohz_full=1-3:N/N",
    'isolcpus="2 3" nohz_full="2, 3"',
    '"isolcpus=2-3" "nohz_full=3"',
    "isolcpus=3-2 nohz_full=,2,,3,",
    "isolcpus=2-3x nohz_full=0x2",
    "isolcpus= nohz_full= rcu_nocbs=",
    "isolcpus nohz_full rcu_nocbs",
    "rcu_nocbs=2 rcu_nocbs=3",
    "rcu_nocbs=2-9",
    "rcu_nocbs=1 rcu_nocbs",
    "rcu_nocbs=x nohz_full=3",
    "ISOLCPUS=2 isolcpus=+2 nohz_full=2 - 3",
    "isolcpus=02-003",
    "irqaffinity=1 irqaffinity=2",
    "irqaffinity=2,x irq-affinity=1",
    "irqaffinity=1-2,9",
    "irqaffinity= irqaffinity",
    "irqaffinity=0,2",
    "isolcpus=domain,managed_irq,,2-3",
    "isolcpus=domain,domain,3 nohz_full=4294967298",
    "isolcpus=domain,2-3 -- isolcpus=nohz,2-3 nohz_full=3",
    'isolcpus=domain,3 "--" nohz_full=3',
    'isolcpus=domain,3 --=1 nohz_full=3 rcu_nocbs="2',
]
PAGES = [
    "hugepagesz=1G hugepages=1 hugepagesz=1G hugepages=0:2,1:0",
    "hugepagesz=1G hugepages=0:1,1:1 hugepagesz=2M hugepages=0:3,1:4",
    "hugepagesz=2M hugepages=4 hugepages=6",
    "hugepages=4 hugepages=6",
    "hugepages=4 hugepagesz=2M hugepages=6",
    "hugepagesz=2M hugepages=6 hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=8",
    "hugepages=4 hugepagesz=2M hugepages=6 default_hugepagesz=2M",
    "hugepages=2 default_hugepagesz=1G",
    "default_hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=4",
    "default_hugepagesz=1G hugepagesz=1G hugepages=2",
    "default_hugepagesz=2M hugepages=4 hugepagesz=2M hugepages=6",
    "default_hugepagesz=2M default_hugepagesz=1G hugepages=4",
    "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=4 default_hugepagesz=1G hugepages=0:9",
    "hugepagesz=4M hugepages=4",
    "hugepagesz=4M hugepages=4 hugepages=6",
    "hugepagesz=2MB hugepages=4x",
    "hugepagesz=2m hugepages=4,6",
    "hugepagesz=2048 hugepages=4",
    "hugepagesz=2048K hugepages=010",
    "hugepagesz=0x200000 hugepages=0x10",
    "hugepagesz=010M hugepages=4",
    "hugepagesz=02M hugepages=4",
    "hugepagesz=2097152 hugepages=-4",
    "hugepagesz=2M hugepages=+4",
    "hugepagesz= hugepages=4",
    "hugepagesz=2M hugepages=",
    "hugepagesz=2M hugepages hugepages=4",
    "hugepagesz=2M hugepages=0:2,9:1",
    "hugepagesz=2M hugepages=0:2,0:3",
    "hugepagesz=2M hugepages=0:2,5",
    "hugepagesz=2M hugepages=0:2,",
    "hugepagesz=2M hugepages=0:2;1:4",
    "hugepagesz=2M hugepages=0:,1:4",
    "hugepagesz=2M hugepages=1:6",
    'hugepagesz=2M hugepages="0:2, 1:4"',
    "hugepages=0:2,1:4",
    "hugepages=0:2 hugepagesz=2M hugepages=1:6",
    "hugepagesz=2M hugepages=0:0,1:0",
    "default-hugepagesz=1G hugepagesz=2M huge-pages=4 hugepages=6",
    "hugepages=6 hugepagesz=2M",
    "hugepagesz=1G hugepagesz=2M hugepages=4",
    "hugepagesz=2M hugepages=0:2,x hugepages=6",
    "hugepagesz=1T hugepages=1",
]
POLICIES = [
    "transparent_hugepage=never",
    "transparent_hugepage=never transparent_hugepage=madvise",
    "transparent_hugepage=madvise transparent_hugepage=off",
    "transparent-hugepage=never",
    "transparent_hugepage=Never",
    "transparent_hugepage transparent_hugepage=",
    'transparent_hugepage="never"',
    "thp_anon=64K:always",
    "thp_anon=16K-64K:always;2M:inherit transparent_hugepage=never",
    "thp_anon=64K:sometimes",
    "thp_anon=16K,1M:madvise thp_anon=16K:never;128K:inherit",
    "thp_anon=64:always",
    "thp_anon=4M:always",
]
WHOLE = [
    'filler="a b isolcpus=2 hugepages=4',
    'a="b c"d isolcpus=2 "e=f g" hugepages=6 "h i"=j nohz_full=3',
    "\t isolcpus=2\x0bhugepages=4\xa0nohz_full=3",
]


def make_lines() -> list[str]:
    """Returns the lines that are known to be traps."""
    lines = [" ".join(filter(None, cases)) for cases in zip_longest(PAGES, POLICIES, ISOLATION)]
    # What ends a line or its words comes last in it.
    return [*lines, *WHOLE]


def generate_lines(count: int, seed: int = 1) -> list[str]:
    """Returns lines of parts of such parameters in any order, the same ones for a seed."""
    chosen = random.Random(seed)

    def make_list() -> str:
        parts = [
            "0",
            "1",
            "2",
            "3",
            "1-2",
            "2-3",
            "1-3",
            "0-3",
            "N",
            "2-N",
            "all",
            "1-3:1/2",
            "3-1",
            "4",
            "",
            "x",
            "02",
        ]
        return ",".join(
            chosen.choices(parts, [2, 4, 6, 6, 4, 6, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], k=chosen.randint(1, 3))
        )

    def make_counts() -> str:
        if chosen.random() < 0.4:
            return chosen.choice(["0", "2", "4", "6", "4x", "", "0x4", "010"])
        pairs = [f"{chosen.choice('001112')}:{chosen.randint(0, 4)}" for _ in range(chosen.randint(1, 3))]
        return ",".join(pairs) + chosen.choice(["", "", "", ",", ";", ",2", "x"])

    def make_word() -> str:
        kind = chosen.random()
        if kind < 0.3:
            flags = chosen.choices(
                ["domain,", "managed_irq,", "nohz,", "other,", "do2,"], [6, 6, 2, 1, 1], k=chosen.randint(0, 3)
            )
            return f"isolcpus={''.join(flags)}{make_list()}"
        if kind < 0.5:
            name = chosen.choice(["nohz_full", "nohz_full", "rcu_nocbs", "irqaffinity", "nohz-full"])
            return f"{name}={make_list()}"
        if kind < 0.75:
            return f"hugepages={make_counts()}"
        if kind < 0.9:
            return f"hugepagesz={chosen.choice(['2M', '2M', '2M', '2048k', '0x200000', '4M', '2MB', ''])}"
        if kind < 0.97:
            return f"default_hugepagesz={chosen.choice(['2M', '1G', '2048K', '3M'])}"
        return f"transparent_hugepage={chosen.choice(['always', 'madvise', 'never', 'off'])}"

    return [" ".join(make_word() for _ in range(chosen.randint(3, 8))) for _ in range(count)]
