# SPDX-License-Identifier: Apache-2.0
"""A Flask application."""
import sqlite3  # noqa: F401

from flask import Blueprint, Flask, Response
from owners_probe import keep, keep_native

app = Flask(__name__)


@app.get("/leak/<int:item_id>")
def leak(item_id):
    keep("leak")
    keep_native("leak native")
    return "ok"


@app.get("/right/<int:item_id>")
def right(item_id):
    return "ok"


@app.get("/raise/<int:item_id>")
def wrong(item_id):
    keep("raise")
    raise ValueError("as it should")


@app.get("/stream/<int:item_id>")
def stream(item_id):
    def parts():
        keep("stream")
        yield "ok"
    return Response(parts())


@app.before_request
def before():
    from flask import request
    if "before" in request.args:
        keep("before_request")


blueprint = Blueprint("inner", __name__, url_prefix="/inner/<inner_id>")


@blueprint.get("/<item_id>")
def item(inner_id, item_id):
    keep("blueprint")
    return "ok"


app.register_blueprint(blueprint)

if __name__ == "__main__":
    import os
    app.run(port=int(os.environ["PORT"]))
