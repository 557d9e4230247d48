//! Names of Python 2 that Python 3 still understands in pickles of protocol 0 to 2 (CPython, `Lib/_compat_pickle.py`).

/// Module of Python 2, module of Python 3.
const MODULES: &[(&str, &str)] = &[
    ("BaseHTTPServer", "http.server"),
    ("CGIHTTPServer", "http.server"),
    ("ConfigParser", "configparser"),
    ("Cookie", "http.cookies"),
    ("DocXMLRPCServer", "xmlrpc.server"),
    ("FileDialog", "tkinter.filedialog"),
    ("HTMLParser", "html.parser"),
    ("Queue", "queue"),
    ("SimpleDialog", "tkinter.simpledialog"),
    ("SimpleHTTPServer", "http.server"),
    ("SimpleXMLRPCServer", "xmlrpc.server"),
    ("SocketServer", "socketserver"),
    ("StringIO", "io"),
    ("Tkinter", "tkinter"),
    ("UserDict", "collections"),
    ("UserList", "collections"),
    ("UserString", "collections"),
    ("__builtin__", "builtins"),
    ("_abcoll", "collections.abc"),
    ("_elementtree", "xml.etree.ElementTree"),
    ("_socket", "socket"),
    ("_winreg", "winreg"),
    ("anydbm", "dbm"),
    ("cPickle", "pickle"),
    ("cStringIO", "io"),
    ("commands", "subprocess"),
    ("cookielib", "http.cookiejar"),
    ("copy_reg", "copyreg"),
    ("dbhash", "dbm.bsd"),
    ("dumbdbm", "dbm.dumb"),
    ("dummy_thread", "_dummy_thread"),
    ("exceptions", "builtins"),
    ("gdbm", "dbm.gnu"),
    ("htmlentitydefs", "html.entities"),
    ("httplib", "http.client"),
    ("itertools", "builtins"),
    ("markupbase", "_markupbase"),
    ("os2emxpath", "ntpath"),
    ("repr", "reprlib"),
    ("robotparser", "urllib.robotparser"),
    ("test.test_support", "test.support"),
    ("thread", "_thread"),
    ("tkFileDialog", "tkinter.filedialog"),
    ("urllib2", "urllib.request"),
    ("urlparse", "urllib.parse"),
    ("whichdb", "dbm"),
    ("xmlrpclib", "xmlrpc.client"),
];

/// Module and name of Python 2, module and name of Python 3, where they are not those of [`MODULES`].
const NAMES: &[(&str, &str, &str, &str)] = &[
    ("__builtin__", "reduce", "functools", "reduce"),
    ("__builtin__", "unichr", "builtins", "chr"),
    ("__builtin__", "unicode", "builtins", "str"),
    ("__builtin__", "long", "builtins", "int"),
    ("__builtin__", "xrange", "builtins", "range"),
    ("__builtin__", "basestring", "builtins", "str"),
    ("__builtin__", "intern", "sys", "intern"),
    ("itertools", "izip", "builtins", "zip"),
    ("itertools", "imap", "builtins", "map"),
    ("itertools", "ifilter", "builtins", "filter"),
    ("UserDict", "UserDict", "collections", "UserDict"),
    ("UserDict", "IterableUserDict", "collections", "UserDict"),
    ("os", "getcwdu", "os", "getcwd"),
    ("socket", "fromfd", "socket", "fromfd"),
    ("urllib", "urlopen", "urllib.request", "urlopen"),
    ("urllib", "urlretrieve", "urllib.request", "urlretrieve"),
    ("urllib", "quote", "urllib.parse", "quote"),
];

/// What `module.name` means to Python 3; itself where nothing was renamed.
pub fn renamed<'n>(module: &'n str, name: &'n str) -> (&'n str, &'n str) {
    let by_name = NAMES.iter().find(|(old, old_name, ..)| (*old, *old_name) == (module, name));
    if let Some(&(_, _, module, name)) = by_name {
        return (module, name);
    }
    let by_module = MODULES.binary_search_by(|(old, _)| (*old).cmp(module));
    (by_module.map_or(module, |at| MODULES[at].1), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_sorted_and_names_win() {
        assert!(MODULES.is_sorted());
        assert_eq!(renamed("__builtin__", "eval"), ("builtins", "eval"));
        assert_eq!(renamed("__builtin__", "reduce"), ("functools", "reduce"));
        assert_eq!(renamed("numpy", "dtype"), ("numpy", "dtype"));
    }
}
