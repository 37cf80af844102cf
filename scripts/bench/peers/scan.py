"""elasticsearch-py's (or opensearch-py's) ``helpers.scan`` with orjson, into JSON lines. Runs in its own environment.

scan.py URL INDEX SIZE FILE
"""

import sys

import orjson

try:
    import elasticsearch as library
    from elasticsearch import helpers
    from elasticsearch.serializer import JSONSerializer
except ImportError:
    import opensearchpy as library
    from opensearchpy import helpers
    from opensearchpy.serializer import JSONSerializer


class Orjson(JSONSerializer):
    """Reads and writes by orjson."""

    def loads(self, data):
        return orjson.loads(data)


def main():
    url, index, size, path = sys.argv[1:]
    client_class = getattr(library, "Elasticsearch", None) or library.OpenSearch
    client = (
        client_class([url], serializer=Orjson(), request_timeout=120)
        if _new()
        else client_class([url], serializer=Orjson(), timeout=120)
    )
    with open(path, "wb") as file:
        for hit in helpers.scan(client, index=index, size=int(size)):
            file.write(orjson.dumps(hit))
            file.write(b"\n")


def _new():
    return library.__name__ == "elasticsearch" and library.__version__[0] >= 8


main()
