// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Client sends orders to a peer.
type Client struct {
	in  io.Writer
	out *bufio.Reader
}

// NewClient waits until the peer that reads from in and writes to out is ready.
func NewClient(in io.Writer, out io.Reader) (*Client, error) {
	c := &Client{in, bufio.NewReader(out)}
	_, err := c.answer()
	return c, err
}

// Order sends an order, and returns the answer to it.
func (c *Client) Order(order ...string) (string, error) {
	if _, err := fmt.Fprintln(c.in, strings.Join(order, " ")); err != nil {
		return "", err
	}
	answer, err := c.answer()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(order, " "), err)
	}
	return answer, nil
}

func (c *Client) answer() (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\n")
	if text, failed := strings.CutPrefix(line, "error: "); failed {
		return "", errors.New(text)
	}
	return line, nil
}
