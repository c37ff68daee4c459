//! A server that answers as a test tells it, well or badly. Also used by the tests across crates.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// How many came before.
    pub(crate) number: usize,
    /// Such as `/v1/chat/completions`.
    pub(crate) path: String,
    /// The header `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The JSON that was sent.
    pub(crate) body: Value,
}

impl Request {
    /// The text of the last message, or the raw prompt.
    pub(crate) fn prompt(&self) -> &str {
        let messages = self.body["messages"].as_array().and_then(|messages| messages.last());
        messages.map_or(&self.body["prompt"], |message| &message["content"]).as_str().unwrap_or_default()
    }
}

/// What goes out.
pub(crate) enum Reply {
    /// Status, further header lines, body.
    Status(u16, &'static str, String),
    /// These bytes and nothing else.
    Bytes(Vec<u8>),
    /// Nothing, after so long.
    Silence(Duration),
}

impl Reply {
    /// A completion of a chat.
    pub(crate) fn saying(text: &str) -> Self {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        Self::json(&json!({"choices": [choice], "usage": {"total_tokens": 10}}))
    }

    /// An answer in JSON.
    pub(crate) fn json(answer: &Value) -> Self {
        Self::Status(200, "Content-Type: application/json\r\n", answer.to_string())
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on this machine, until it is dropped.
pub(crate) struct PretendServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PretendServer {
    /// A server that answers with this function, each request on a thread of its own.
    pub(crate) fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let answer: Arc<Answer> = Arc::new(answer);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                // A client that hangs up early is no fault of this server.
                thread::spawn(move || serve(stream, &all, &*answer).ok());
            }
        });
        Self { address, seen, is_over, thread: Some(thread) }
    }

    /// Its address, as a recipe names it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What came in so far, in the order in which it came.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PretendServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for somebody.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let request = Request { number: seen.len(), path, authorization, body };
        seen.push(request.clone());
        request
    };
    match answer(&request) {
        Reply::Status(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())
        }
        Reply::Bytes(bytes) => stream.write_all(&bytes),
        Reply::Silence(time) => {
            thread::sleep(time);
            Ok(())
        }
    }
}
