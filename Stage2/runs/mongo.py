"""A copy of every run in a MongoDB, for Omniboard and its like, where the environment names one."""

import os
from typing import Any

from sacred.observers import FileStorageObserver, MongoObserver

URL_VARIABLE = "DENSEMP_MONGO_URL"
DATABASE = "sacred"  # where the address names none; Omniboard's default too
ANSWER_WITHIN_MS = 5_000


class MongoMirror(MongoObserver):
    """sacred's MongoObserver beside a run folder.

    The database counts its own ids, because run folders are numbered anew in every experiment; `meta.run_folder` of an
    entry tells the folder.
    """

    def started_event(
        self, ex_info: Any, command: Any, host_info: Any, start_time: Any, config: Any, meta_info: Any, _id: Any
    ) -> Any:
        meta_info = {**meta_info, "run_folder": str(self.folder_observer.dir)}
        return super().started_event(ex_info, command, host_info, start_time, config, meta_info, None)

    def save_sources(self, ex_info: Any) -> list:
        """Names of the sources only: the files are in the experiment's folder."""
        return [[name, stored] for name, stored in ex_info["sources"]]


def configured_mirror(folder_observer: FileStorageObserver) -> MongoMirror | None:
    """The observer that DENSEMP_MONGO_URL asks for; None where it is not set.

    Args:
        folder_observer: of the run folder; it starts before this one.

    Raises:
        ValueError: pymongo is not installed, the address is wrong, or no server answers.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return None
    try:
        import pymongo
    except ImportError:
        raise ValueError(
            f"{URL_VARIABLE} is set, but pymongo is not installed; pip install pymongo, or unset the variable."
        ) from None
    try:
        client = pymongo.MongoClient(url, serverSelectionTimeoutMS=ANSWER_WITHIN_MS)
        client.admin.command("ping")
    except pymongo.errors.PyMongoError as error:
        reason = str(error).splitlines()[0].split(" (configured")[0]
        raise ValueError(
            f"{URL_VARIABLE} names no MongoDB that answers ({reason}); correct it, or unset the variable."
        ) from None
    database = client.get_default_database(DATABASE)
    mirror = MongoMirror(client=client, db_name=database.name, priority=folder_observer.priority - 10)
    mirror.folder_observer = folder_observer
    return mirror
