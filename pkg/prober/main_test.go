// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// patience bounds a wait for an event that must happen, even on a busy machine.
const patience = 2 * time.Minute

// parallelTests is the number of parallel tests: they mostly wait for the kernel's timers.
const parallelTests = "32"

// envRole makes this test binary another process with a role in a test.
const envRole = "_HALFCLOSE_PROBER_ROLE"

func init() {
	if role := os.Getenv(envRole); role == "headless" || role == "apart" {
		runtime.LockOSThread() // so that main is on the main thread, and no other goroutine
	}
}

func TestMain(m *testing.M) {
	role, ok := map[string]func() error{
		"owner": ownerMain, "apart": apartMain, "headless": headlessMain, "receiver": receiverMain, "prober": proberMain,
		"restricted": restrictedMain, "poller": pollerMain,
	}[os.Getenv(envRole)]
	if !ok {
		flag.Parse()
		chosen := false
		flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
		if !chosen {
			_ = flag.Set("test.parallel", parallelTests) // cannot fail: the testing package has it
		}
		os.Exit(nstest.Main(m))
	}
	if err := role(); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ownerMain executes the commands from standard input, one a line, on its descriptors, and answers each with a line.
func ownerMain() error { return obey(os.Stdin) }

// apartMain is an owner whose sockets are only in the descriptor table of one of its threads. It prints the TID.
func apartMain() error {
	failed, apart := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the table belongs to this thread
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			failed <- err
			return
		}
		fmt.Println(unix.Gettid())
		apart <- struct{}{}
		failed <- obey(os.Stdin)
	}()
	select {
	case err := <-failed:
		return err
	case <-apart:
	}
	if err := unix.Close(3); err != nil { // in the table of the other threads
		return err
	}
	return <-failed
}

// headlessMain is an owner whose main thread has exited. It prints the TID of the remaining thread.
func headlessMain() error {
	go func() {
		runtime.LockOSThread()
		fmt.Println(unix.Gettid())
		if err := obey(os.Stdin); err != nil {
			fmt.Println("failed:", err)
		}
		os.Exit(0)
	}()
	_, _, err := unix.Syscall(unix.SYS_EXIT, 0, 0, 0) // of this thread alone
	return err
}

// receiverMain receives a descriptor over the unix socket that is descriptor 3, when a line on its standard input
// requests it, and prints its number.
func receiverMain() error {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return nil
	}
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), control, 0)
	if err != nil || n == 0 {
		return fmt.Errorf("no descriptor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	fmt.Println(fds[0])
	return obey(in)
}

func obey(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var args [3]int
		word, rest, _ := strings.Cut(lines.Text(), " ")
		_, _ = fmt.Sscan(rest, &args[0], &args[1], &args[2])
		answer, err := do(word, args, rest)
		if errno, ok := errors.AsType[unix.Errno](err); ok {
			answer = unix.ErrnoName(errno)
		} else if err != nil {
			answer = err.Error()
		}
		fmt.Println(answer)
	}
	return lines.Err()
}

func do(word string, args [3]int, rest string) (string, error) {
	fd := args[0]
	switch word {
	case "close":
		return "ok", unix.Close(fd)
	case "dup": // dup FD TO
		return "ok", unix.Dup2(fd, args[1])
	case "options":
		return options(fd)
	case "keepalive": // keepalive FD 0|1
		return "ok", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, args[1])
	case "set": // set FD TCP_OPTION VALUE
		return "ok", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, args[1], args[2])
	case "linger": // linger FD SECONDS
		return "ok", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(args[1])})
	case "recv":
		b := make([]byte, 1<<16)
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		return fmt.Sprint("read ", n), err
	case "send":
		n, err := unix.SendmsgN(fd, []byte("answer"), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		return fmt.Sprint("sent ", n), err
	case "reconnect": // reconnect FD ADDRESS
		_, address, _ := strings.Cut(rest, " ")
		return "ok", reconnect(fd, address)
	case "fork": // a child that has FD too
		return fork(fd)
	case "passto": // passto FD UNIX: send FD, and close it
		if err := unix.Sendmsg(args[1], []byte("x"), unix.UnixRights(fd), nil, 0); err != nil {
			return "", err
		}
		return "ok", unix.Close(fd)
	}
	return "", fmt.Errorf("unknown word %q", word)
}

func options(fd int) (string, error) {
	text := ""
	for _, o := range [][2]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	} {
		n, err := unix.GetsockoptInt(fd, o[0], o[1])
		if err != nil {
			return "", err
		}
		text += fmt.Sprint(n, " ")
	}
	return strings.TrimSpace(text), nil
}

func reconnect(fd int, address string) error {
	var unspec [16]byte // struct sockaddr of AF_UNSPEC
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(ptr(&unspec)), 16); errno != 0 {
		return errno
	}
	err := connectTo(fd, address)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience/time.Millisecond))
	return err
}

func connectTo(fd int, address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

// fork starts a child that has the descriptor as its own number 3 until the test has ended.
func fork(fd int) (string, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(copied), "socket")
	defer f.Close()
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	return fmt.Sprint(cmd.Process.Pid), nil
}

// play prepares this binary to run in a role, with the descriptors from 3 on.
func play(role string, files ...*os.File) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	return cmd
}

// process is a process of a test that answers lines.
type process struct {
	tb    testing.TB
	cmd   *exec.Cmd
	PID   int
	stdin io.WriteCloser
	lines *bufio.Reader
}

// start starts a process that exits when the test or the test's process has ended.
func start(tb testing.TB, ns *nstest.NS, cmd *exec.Cmd) *process {
	tb.Helper()
	p := &process{tb: tb, cmd: cmd}
	var err error
	p.stdin, err = cmd.StdinPipe()
	var out io.ReadCloser
	if err == nil {
		out, err = cmd.StdoutPipe()
	}
	if err == nil {
		if ns == nil {
			err = cmd.Start()
		} else {
			ns.Do(tb, func() { err = cmd.Start() })
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	p.PID, p.lines = cmd.Process.Pid, bufio.NewReader(out)
	tb.Cleanup(p.end)
	return p
}

func (p *process) end() {
	p.stdin.Close()
	_ = p.cmd.Wait()
}

// kill ends the process by SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// line returns the next line that the process writes.
func (p *process) line() string {
	p.tb.Helper()
	text, err := p.lines.ReadString('\n')
	if err != nil {
		p.tb.Fatalf("no answer: %v", err)
	}
	return strings.TrimSpace(text)
}

// request sends the process a command, and returns its answer.
func (p *process) request(format string, args ...any) string {
	p.tb.Helper()
	if _, err := fmt.Fprintf(p.stdin, format+"\n", args...); err != nil {
		p.tb.Fatal(err)
	}
	return p.line()
}

// must has the process do something, and fails the test at once if its answer is not the wanted one.
func (p *process) must(want, format string, args ...any) {
	p.tb.Helper()
	if got := p.request(format, args...); got != want {
		p.tb.Fatalf("%s: %s, want %s", fmt.Sprintf(format, args...), got, want)
	}
}
