"""ES-Spark: reads an index and saves it as JSON lines. Runs in an environment with pyspark.

spark.py JAR HOST PORT INDEX FOLDER
"""

import json
import sys

from pyspark.sql import SparkSession


def main():
    jar, host, port, index, folder = sys.argv[1:]
    session = SparkSession.builder.master("local[2]").config("spark.jars", jar).config("spark.ui.enabled", "false")
    session = session.config("spark.driver.host", "127.0.0.1").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    read = session.sparkContext.newAPIHadoopRDD(
        inputFormatClass="org.elasticsearch.hadoop.mr.EsInputFormat",
        keyClass="org.apache.hadoop.io.NullWritable",
        valueClass="org.apache.hadoop.io.Text",
        conf={
            "es.nodes": host,
            "es.port": port,
            "es.nodes.wan.only": "true",
            "es.resource": index,
            "es.output.json": "true",
            "es.scroll.size": "5000",
        },
    )
    # The connector gives the id beside the JSON: a line holds both, as the other programs' lines do.
    read.map(lambda row: f'{{"_id":{json.dumps(row[0])},"_source":{row[1]}}}').saveAsTextFile(folder)


main()
