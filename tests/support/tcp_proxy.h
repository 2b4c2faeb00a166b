// TcpProxy: stands between a client and a server on loopback, and cuts or stalls their connection at a moment
// that a test chooses by the bytes that pass (they must not be encrypted). One thread of its own.
//
//   TcpProxy proxy(port_of_the_server);
//   proxy.on("INSERT INTO t", TcpProxy::Then::cut_after);   // before the statement is sent through
//   proxy.port()
//   ... the statement was done, its answer is lost ...
//   EXPECT_EQ(proxy.done(), 1U);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace varve::test {

class TcpProxy {
 public:
  enum class Then : unsigned char {
    cut_before,     // What the client says is not passed on, and both connections end.
    cut_after,      // It is passed on; when the server begins to answer, the answer is dropped and both end.
    cut_in_answer,  // Likewise, but the first bytes of the answer (see `answer_bytes`) reach the client.
    stall,          // It is passed on, the answer is not, and the connection stays open, until resume().
    stall_before,   // It is not passed on, and the connection stays open, until resume().
  };

  explicit TcpProxy(std::uint16_t to_port);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  std::uint16_t port() const;

  // What happens the next time that a client says something that holds `text`; once, then everything passes
  // again.
  void on(const std::string& text, Then then);
  void on(const std::string& text, Then then, std::size_t answer_bytes);
  // Lets what is stalled go on.
  void resume();
  // Ends every connection that there is, before it returns; new ones are let in.
  void cut_all();
  // While true, a new connection is closed at once.
  void refuse(bool refuse);

  // How often a moment has come that on() had named.
  std::size_t done() const;
  // Connections that were let in since the start.
  std::size_t accepted() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "postgresql://u:p@127.0.0.1:5432/d" with another port.
std::string with_port(const std::string& url, std::uint16_t port);
std::uint16_t port_of(const std::string& url);

}  // namespace varve::test
