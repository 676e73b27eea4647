"""What pyproject.toml cannot say: the shipped checkpoint, which lies beside the packages, is installed within one."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cdgate*", "hw*", "gen*", "sim*", "sw_model*"]), "cdgate.checkpoints"],
    package_dir={"cdgate.checkpoints": "checkpoints"},
    package_data={
        "cdgate.checkpoints": ["resnet18_scdg_cifar10.safetensors"],
        "gen": ["*.vlt"],
        "sim.testbench": ["*.sv"],
    },
)
