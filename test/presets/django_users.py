"""Users by Django with django-mongodb-backend. See README.md."""
import sys
from urllib.parse import urlsplit

import django
import django_mongodb_backend
from bson import json_util
from django.conf import settings

uri = sys.argv[1]
name = urlsplit(uri).path[1:]
settings.configure(
    DATABASES={"default": {"ENGINE": "django_mongodb_backend", "HOST": uri, "NAME": name}},
    DEFAULT_AUTO_FIELD="django_mongodb_backend.fields.ObjectIdAutoField",
    DATABASE_ROUTERS=["django_mongodb_backend.routers.MongoRouter"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIGRATION_MODULES={"auth": None, "contenttypes": None},
    USE_TZ=True,
)
django.setup()
from django.contrib.auth.models import User
from django.db import connection

with connection.schema_editor() as editor:
    editor.create_model(User)
User.objects.create_user("alice", "alice@example.com", "correct horse battery")
User.objects.create_user("mallory", "mallory@example.com", "correct horse battery", is_active=False)
User.objects.create_user("nopassword", "nopassword@example.com")
users = connection.database["auth_user"]
print(
    json_util.dumps(
        {
            "by": f"Django {django.get_version()}, django-mongodb-backend {django_mongodb_backend.__version__}",
            "collections": {"auth_user": list(users.find())},
            "indexes": {"auth_user": [i for i in users.list_indexes() if i["name"] != "_id_"]},
        },
        json_options=json_util.RELAXED_JSON_OPTIONS,
        indent=1,
    )
)
