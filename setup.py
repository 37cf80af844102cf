"""How esfeed is built and installed. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="esfeed",
    version="0.1.0",
    description="A change feed for Elasticsearch and OpenSearch: created, updated and deleted events, from outside",
    long_description=Path(__file__).with_name("README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["esfeed", "esfeed.*"]),
    package_data={"esfeed": ["py.typed"]},
    install_requires=[
        "alembic>=1.13",
        "apscheduler>=3.11,<4",
        "click>=8.1",
        "common-expression-language>=0.5",
        "elasticsearch>=9.1,<10",
        "msgspec>=0.19",
        "pydantic>=2.10",
        "rich>=13.7",
        "sqlalchemy>=2.0.30",
        "structlog>=24.1",
        "tenacity>=8.3",
        "urllib3>=2.2",
    ],
    extras_require={
        "demo": ["osmem-server>=0.1.6"],
        "test": [
            "cloudevents>=1.11",
            "hypothesis>=6.100",
            "import-linter>=2.1",
            "jsonschema>=4.20",
            "mypy>=1.13",
            "osmem-server>=0.1.6",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "reno>=4.1",
            "ruff>=0.9",
            "setuptools>=70.1",
            "standardwebhooks>=1.0",
            "trustme>=1.2",
        ],
    },
    entry_points={
        "console_scripts": ["esfeed = esfeed.cli.main:main"],
        "esfeed.sinks": [
            "stdout = esfeed.sinks.stdout:StdoutSink",
            "file = esfeed.sinks.file:FileSink",
            "webhook = esfeed.sinks.webhook:WebhookSink",
        ],
        "esfeed.profiles": [
            "plain = esfeed.profiles.plain:PlainProfile",
            "searchlight = esfeed.profiles.searchlight:SearchlightProfile",
        ],
    },
)
