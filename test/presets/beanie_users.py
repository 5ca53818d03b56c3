"""Users by fastapi-users on Beanie, with the hashes that its password helper makes and has made. See README.md."""
import asyncio
import sys
from importlib.metadata import version

from beanie import Document, init_beanie
from bson import json_util
from fastapi_users import BaseUserManager, schemas
from fastapi_users.password import PasswordHelper
from fastapi_users_db_beanie import BeanieBaseUser, BeanieUserDatabase, ObjectIDIDMixin
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from pymongo import AsyncMongoClient


class User(BeanieBaseUser, Document):
    pass


class Manager(ObjectIDIDMixin, BaseUserManager):
    reset_password_token_secret = verification_token_secret = "a secret of more than 32 characters"


async def main(uri):
    client = AsyncMongoClient(uri)
    database = client.get_default_database()
    await init_beanie(database=database, document_models=[User])
    store = BeanieUserDatabase(User)
    manager = Manager(store)
    create = lambda name, **more: schemas.BaseUserCreate(
        email=f"{name}@example.com", password="correct horse battery", **more
    )
    await manager.create(create("Alice"))
    await manager.create(create("mallory", is_active=False))
    bcrypt = PasswordHelper(PasswordHash((BcryptHasher(), Argon2Hasher())))
    await Manager(store, bcrypt).create(create("bcrypt"))
    names = ["User"]
    print(
        json_util.dumps(
            {
                "by": ", ".join(f"{n} {version(n)}" for n in ("fastapi-users", "beanie", "pwdlib")),
                "collections": {n: await database[n].find().to_list() for n in names},
                "indexes": {
                    n: [
                        index
                        async for index in await database[n].list_indexes()
                        if index["name"] != "_id_"
                    ]
                    for n in names
                },
            },
            json_options=json_util.RELAXED_JSON_OPTIONS,
            indent=1,
        )
    )


asyncio.run(main(sys.argv[1]))
