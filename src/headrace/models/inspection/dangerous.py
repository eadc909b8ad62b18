"""Names that give whoever may call them the whole machine, or a way around every other check.

Two uses: a policy's ``mine.*`` never covers such a name, and a scan calls what asks for one dangerous, not
only in need of a word. It is no list of what is forbidden: what is not known to be safe is refused anyway.
"""

from __future__ import annotations

#: Whole packages: everything in them.
_PACKAGES = frozenset(
    (
        "_aix_support", "_osx_support", "_pickle", "_posixsubprocess", "_pyrepl", "_testcapi", "_thread",
        "_xxsubinterpreters", "aiohttp", "asyncio", "atexit", "bdb", "cProfile", "code", "codeop", "commands",
        "compileall", "concurrent", "ctypes", "_ctypes", "dill", "distutils", "doctest", "ensurepip", "faulthandler", "fabric",
        "ftplib", "gc", "http", "httplib", "httpx", "idlelib", "imaplib", "imp", "importlib", "inspect", "invoke", "joblib",
        "lib2to3", "linecache", "logging", "marshal", "mmap", "multiprocessing", "nntplib", "nt", "ntpath", "os",
        "paramiko", "pathlib", "pdb", "pickle", "pickletools", "pip", "pkgutil", "platform", "plistlib", "poplib", "posix", "posixpath",
        "profile", "pty", "py_compile", "pydoc", "requests", "rlcompleter", "runpy", "sched", "setuptools", "shelve", "shutil", "signal",
        "site", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "symtable", "sys", "sysconfig", "tarfile",
        "telnetlib", "tempfile", "test", "threading", "timeit", "trace", "tracemalloc", "turtle", "types", "urllib", "urllib2", "urllib3",
        "uuid", "venv", "webbrowser", "wsgiref", "xmlrpc", "zipapp", "zipfile", "zipimport",
    )
)  # fmt: skip
#: Modules, and what lies below them.
_MODULES = (
    "numpy.f2py", "numpy.testing", "numpy.distutils", "numpy.ctypeslib", "numpy.lib.npyio", "numpy.lib._npyio_impl",
    "pandas.io", "pandas.core.computation", "sklearn.utils._joblib", "sklearn.externals", "scipy._lib", "scipy.io", "torch.hub", "torch.jit", "torch.load",
    "torch.package", "torch.serialization", "torch.utils.collect_env", "torch.utils.bottleneck",
    "torch.utils.cpp_extension", "torch.utils.data.datapipes", "torch.utils._config_module", "torch._dynamo",
    "torch._inductor", "torch.fx", "torch.distributed", "torch.ops", "torch.classes", "torch.multiprocessing",
    "keras.utils", "keras.src.utils", "keras.saving", "keras.src.saving", "keras.src.legacy.saving", "tensorflow.io", "cloudpickle",
    "transformers.dynamic_module_utils", "transformers.utils.hub", "mlflow", "headrace", "skops", "xgboost.core", "lightgbm.basic",
)  # fmt: skip
#: Single things.
_NAMES = frozenset(
    (
        "apply", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "file", "getattr", "globals", "input",
        "locals", "open", "setattr", "type", "vars", "__import__", "__build_class__",
    )
)  # fmt: skip
_OTHERS = frozenset(
    (
        "_io.FileIO", "_io.open", "_io.open_code", "io.FileIO", "io.open", "io.open_code", "codecs.open",
        "functools.partial", "functools.partialmethod", "functools.reduce", "functools.singledispatch", "functools.cached_property",
        "_functools.partial", "_functools.reduce",
        "operator.attrgetter", "operator.itemgetter", "operator.methodcaller", "operator.call",
        "_operator.attrgetter", "_operator.itemgetter", "_operator.methodcaller", "_operator.call",
        "numpy.load", "numpy.fromfile", "numpy.memmap", "numpy.genfromtxt", "numpy.loadtxt", "numpy.save", "numpy.savetxt",
        "numpy.savez", "numpy.DataSource", "numpy.vectorize", "numpy.frompyfunc", "numpy.apply_along_axis", "numpy.core.multiarray.fromfile", "numpy._core.multiarray.fromfile",
        "pandas.read_pickle", "pandas.eval", "pandas.read_csv", "pandas.read_html", "pandas.read_sql", "pandas.read_hdf",
        "torch.load", "torch.compile", "torch._C",
        "itertools.starmap", "weakref.finalize", "copyreg.add_extension", "dataclasses.make_dataclass",
        "collections.namedtuple", "typing.get_type_hints", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
        "string.Formatter", "sklearn.datasets.fetch_openml", "sklearn.datasets.load_files",
    )
)  # fmt: skip


def is_dangerous(name: str) -> bool:
    """Whether a full name (``package.module.thing``) is one of these, or lies below one."""
    package, _, rest = name.partition(".")
    if package in ("builtins", "__builtin__"):
        return rest.split(".")[0] in _NAMES
    if package in _PACKAGES or "__" in rest:
        return True
    return any(name == one or name.startswith(f"{one}.") for one in (*_MODULES, *_OTHERS))
