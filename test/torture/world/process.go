// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/agent"
)

// AgentCommand is the argument that makes the program an agent.
const AgentCommand = "agent"

// orderPatience bounds an order, which may wait for a frozen process.
const orderPatience = 2 * time.Minute

// process is an agent in a network namespace.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	gone  chan struct{} // closed when its output has ended

	writing sync.Mutex
	orders  *json.Encoder

	mu      sync.Mutex
	next    int
	waiting map[int]chan agent.Answer
	news    map[string]func(agent.Answer) // by connection
	stray   []agent.Answer
}

// startProcess starts an agent in the namespace at path, with the name command.
func startProcess(path, command string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := node.Command(path, exe, AgentCommand)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start an agent: %w", err)
	}
	p := &process{
		cmd: cmd, stdin: stdin, gone: make(chan struct{}), orders: json.NewEncoder(stdin),
		waiting: make(map[int]chan agent.Answer), news: make(map[string]func(agent.Answer)),
	}
	go p.receive(json.NewDecoder(stdout))
	if _, err := p.order(agent.Order{Op: agent.Rename, Address: command}); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// receive passes answers on until the process exits.
func (p *process) receive(answers *json.Decoder) {
	defer close(p.gone)
	for {
		var a agent.Answer
		if err := answers.Decode(&a); err != nil {
			return
		}
		p.mu.Lock()
		waiting, news := p.waiting[a.ID], p.news[a.Conn]
		delete(p.waiting, a.ID)
		if a.Stray {
			p.stray = append(p.stray, a)
		}
		p.mu.Unlock()
		switch {
		case waiting != nil:
			waiting <- a // never blocks: capacity 1
		case news != nil && a.ID == 0 && !a.Stray:
			news(a)
		}
	}
}

// onEnd calls fn when a connection has ended.
func (p *process) onEnd(conn string, fn func(agent.Answer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news[conn] = fn
}

// order sends an order and returns the answer.
func (p *process) order(o agent.Order) (agent.Answer, error) {
	answer := make(chan agent.Answer, 1)
	p.mu.Lock()
	p.next++
	o.ID = p.next
	p.waiting[o.ID] = answer
	p.mu.Unlock()
	p.writing.Lock()
	err := p.orders.Encode(o)
	p.writing.Unlock()
	if err != nil {
		return agent.Answer{}, fmt.Errorf("order %s %s: %w", o.Op, o.Conn, err)
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-p.gone:
		return agent.Answer{}, fmt.Errorf("order %s %s: %w", o.Op, o.Conn, errGone)
	case <-time.After(orderPatience):
		return agent.Answer{}, fmt.Errorf("order %s %s: no answer within %v", o.Op, o.Conn, orderPatience)
	}
}

// errGone means that the process has exited.
var errGone = errors.New("the process is gone")

// stop kills the process and waits until it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have exited
	<-p.gone
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// strays returns the events for closed descriptors.
func (p *process) strays() []agent.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stray
}
