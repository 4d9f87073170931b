from pathlib import Path

import pytest
from hypothesis import strategies as st

from cluster.topology import Head, Health, NodeGroup, Ports, Topology, read_topology

SHIPPED = Path(__file__).parents[2] / "configs" / "cluster"

names = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)
memories = st.floats(0.25, 700.0)
labels = st.dictionaries(
    st.from_regex(
        r"([a-z]{1,5}\.io/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True
    ),
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True),
    max_size=3,
)


@st.composite
def groups(draw, name):
    nodes = draw(st.integers(0, 20))
    gpus = draw(st.integers(0, 8))
    return NodeGroup(
        name=name,
        nodes=nodes,
        max_nodes=draw(st.none() | st.integers(nodes, 40)),
        cpus=draw(st.integers(1, 192)),
        gpus=gpus,
        accelerator=draw(st.sampled_from([None, "H100", "A10G", "NVIDIA-L4"])) if gpus else None,
        memory_gib=draw(memories),
        labels=draw(labels),
        spot=draw(st.booleans()),
        machine="m7i.4xlarge",
    )


@st.composite
def any_topology(draw):
    cpus = draw(st.integers(1, 192))
    called = draw(st.lists(names.filter(lambda name: name != "head"), max_size=4, unique=True))
    ports = st.integers(1024, 10001) | st.integers(20000, 65535)
    gcs, dashboard, client, metrics, serve = draw(
        st.lists(ports, min_size=5, max_size=5, unique=True)
    )
    return Topology(
        name=draw(names),
        head=Head(cpus=cpus, memory_gib=draw(memories), slots=draw(st.integers(1, cpus))),
        groups=tuple(draw(groups(name)) for name in called),
        ports=Ports(gcs=gcs, dashboard=dashboard, client=client, metrics=metrics, serve=serve),
        health=Health(period_ms=draw(st.integers(100, 5000))),
        idle_minutes=draw(st.floats(0.1, 600.0)),
    )


@pytest.fixture(scope="session")
def topologies():
    """Return the strategy of all that can be rendered."""
    return any_topology()


@pytest.fixture(scope="session")
def fleet():
    return read_topology(SHIPPED / "fleet.yaml")


@pytest.fixture(scope="session")
def three_nodes():
    return read_topology(SHIPPED / "three_nodes.yaml")
