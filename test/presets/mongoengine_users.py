"""Users by MongoEngine: UUIDs, hashes as bytes, roles by reference. See README.md."""
import sys
import uuid
import warnings

import bcrypt
import mongoengine as me
from bson import ObjectId, json_util
from pymongo import MongoClient

warnings.simplefilter("ignore")
uri = sys.argv[1]
me.connect(host=uri)


class Role(me.Document):
    name = me.StringField(primary_key=True)


class User(me.Document):
    """With an id of its own, and the hash as bcrypt returns it."""

    id = me.UUIDField(primary_key=True)
    username = me.StringField(unique=True)
    password = me.BinaryField()
    active = me.BooleanField(default=True)
    roles = me.ListField(me.ReferenceField(Role, dbref=True))
    meta = {"collection": "user"}


class Member(me.DynamicDocument):
    """With MongoEngine's own id, the hash as text, and roles by ObjectId."""

    username = me.StringField(unique=True)
    password = me.StringField()
    active = me.BooleanField(default=True)
    roles = me.ListField(me.ObjectIdField())
    meta = {"collection": "member"}


def hashed():
    return bcrypt.hashpw(b"correct horse battery", bcrypt.gensalt(10))


admin = Role(name="admin").save()
for name, active in (("alice", True), ("mallory", False)):
    made = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    User(id=made, username=name, password=hashed(), active=active, roles=[admin]).save()
    Member(username=name, password=hashed().decode(), active=active, roles=[ObjectId()]).save()
User(id=uuid.uuid4(), username="nopassword").save()

# A client of its own, which leaves the UUIDs as they are stored.
db = MongoClient(uri).get_default_database()
names = ["user", "member"]
options = json_util.RELAXED_JSON_OPTIONS
print(
    json_util.dumps(
        {
            "by": f"MongoEngine {me.__version__}, bcrypt {bcrypt.__version__}",
            "collections": {name: list(db[name].find()) for name in names},
            "indexes": {
                name: [index for index in db[name].list_indexes() if index["name"] != "_id_"]
                for name in names
            },
        },
        json_options=options,
        indent=1,
    )
)
