//! The language of the differential tests, one step a line.
//!
//! ```text
//! @config tickTime=500            a line for zoo.cfg
//! @property zookeeper.x=y         a Java system property
//! A connect timeout=10000         A is a connection, and the session that it gets
//! A create /a "data" acl=open flags=ephemeral
//! A delete /none -1 ! NoNode      the reference server must answer so: the step tests what it says
//! B getData /a watch
//! A pipeline { setData /a "x" 0; getData /a }
//! B expect NodeDataChanged /a     waits for the event, or takes it if it has come already
//! A multi { check /a 1; delete /a -1 }
//! A exists /b ! NoAuth ~name      a known difference, listed under that name; `~?name` if it may
//! A disconnect                    without closing the session
//! A reconnect                     the same session, renewed
//! B connect session=A             the same session from elsewhere
//! A close                         closeSession, and the end of the connection
//! A closed                        waits for the server to end the connection
//! A walk /                        reads every node under a path
//! restart                         SIGKILL, and a start on the same data
//! ```
//!
//! A path or datum is a word, a quoted string (escapes `\"`, `\\`, `\n`, `\t`, `\0`, `\xNN` for a
//! raw byte, `\u{N}`), `x:HEX`, `zeros:COUNT` or `null`; `$A` at its start is the path that A's
//! newest successful create returned. Without `!`, a request is expected to succeed.
//!
//! `parse` turns text into steps, `request` into operations, and `run` plays them against a server.

mod parse;
mod request;
mod run;

pub use parse::{ParseError, Script};
pub use run::{Item, Record, Run};

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the file, from 1.
    pub line: usize,
    /// As written.
    pub text: String,
    /// Whose step it is; empty for the server's own.
    pub connection: String,
    /// What is done.
    pub action: Action,
    /// What the reference server's answer must contain.
    pub expected: Option<String>,
    /// The known difference that this step shows.
    pub known: Option<Difference>,
}

/// How a step may differ between the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It must, as one of these entries says: `~name,name`.
    Must(Vec<String>),
    /// It may, as one of these entries says: `~?name,name`.
    May(Vec<String>),
}

impl Difference {
    /// The entries' names.
    pub fn names(&self) -> &[String] {
        match self {
            Difference::Must(names) | Difference::May(names) => names,
        }
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Opens a connection and shakes hands.
    Connect(Connect),
    /// Ends the connection and leaves the session.
    Disconnect,
    /// Sends requests in one piece and takes their replies in order.
    Requests(Vec<Request>),
    /// Closes the session and waits for the end of the connection.
    Close,
    /// Waits for a watch event.
    Expect(Event),
    /// Waits for the server to end the connection.
    Closed,
    /// Reads every node from here on.
    Walk(Vec<u8>),
    /// Opens a connection without a handshake.
    Open,
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Sends bytes as one frame.
    SendFrame(Vec<u8>),
    /// Waits for one frame, whatever it holds.
    Receive,
    /// Kills the server and starts it on the same data.
    Restart,
}

/// The handshake's particulars.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Whose session to renew; `None` asks for a new one.
    pub session: Option<SessionChoice>,
    /// The wish, in milliseconds.
    pub timeout_ms: i32,
    /// The newest zxid that the client claims to have seen.
    pub seen: Seen,
    /// The trailing byte.
    pub read_only: Option<bool>,
    /// In place of the session's own password.
    pub password: Option<Vec<u8>>,
}

/// Which session a handshake asks for.
#[derive(Clone, Debug)]
pub enum SessionChoice {
    /// The one that this connection was granted.
    Of(String),
    /// Any number.
    Number(i64),
}

/// A zxid that is known when the script runs.
#[derive(Clone, Copy, Debug, Default)]
pub enum Seen {
    /// A number.
    Number(i64),
    /// The newest that this connection's replies have shown.
    #[default]
    Last,
}

/// A watch event by type and path.
#[derive(Clone, Debug)]
pub struct Event {
    /// As in ZooKeeper's `Watcher.Event.EventType`.
    pub kind: i32,
    /// Where.
    pub path: Text,
}

/// A string that may begin with the path of a node that a run created.
#[derive(Clone, Debug)]
pub struct Text {
    /// The connection whose newest created path comes first.
    pub created_by: Option<String>,
    /// The rest; `None` is jute's null.
    pub bytes: Option<Vec<u8>>,
}

/// A request as a list of jute fields, encoded when it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation code.
    pub op: i32,
    /// In place of the next number of the connection.
    pub xid: Option<i32>,
    /// The record.
    pub fields: Vec<Field>,
}

/// One field of a record.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Field {
    Int(i32),
    Long(i64),
    Boolean(bool),
    Text(Text),
    Raw(Vec<u8>),
    Zxid(Seen),
}

/// Event types by name.
pub const EVENTS: [(&str, i32); 7] = [
    ("NodeCreated", 1),
    ("NodeDeleted", 2),
    ("NodeDataChanged", 3),
    ("NodeChildrenChanged", 4),
    ("DataWatchRemoved", 5),
    ("ChildWatchRemoved", 6),
    ("PersistentWatchRemoved", 7),
];
