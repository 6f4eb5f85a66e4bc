// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
)

// freed returns an error if the kernel has not freed the network namespaces, with the processes that hold one.
func freed(ids []netns.Identity) error {
	err := noNamespaces()
	if err == nil {
		return nil
	}
	list, failed := holders(ids)
	if len(list) == 0 {
		list = []string{"no process on the node holds one: the kernel has not freed it yet, or holds it itself"}
	}
	return errors.Join(err, errors.New(strings.Join(list, "; ")), failed)
}

// holders describes each process, file and socket on the node that holds one of the network namespaces.
func holders(ids []netns.Identity) (list []string, err error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		name := fmt.Sprintf("process %d, %s", pid, strings.TrimSpace(string(comm)))
		threads, _ := filepath.Glob(filepath.Join(dir, "task/*/ns/net"))
		if slices.ContainsFunc(threads, func(path string) bool { return isOf(path, ids) }) {
			list = append(list, name+" is in one")
		}
		files, _ := filepath.Glob(filepath.Join(dir, "fd/*")) // a process that has exited holds nothing
		for _, file := range files {
			fd, err := strconv.Atoi(filepath.Base(file))
			if err != nil {
				return nil, err
			}
			target, _ := os.Readlink(file)
			if isOf(file, ids) || strings.HasPrefix(target, "socket:") && slices.Contains(cookies(ids), socketNetns(pid, fd)) {
				list = append(list, fmt.Sprintf("%s has one by descriptor %d, %s", name, fd, target))
			}
		}
	}
	return list, nil
}

// isOf reports whether a path leads to one of the network namespaces.
func isOf(path string, ids []netns.Identity) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && slices.ContainsFunc(ids, func(id netns.Identity) bool { return id.Dev == st.Dev && id.Inode == st.Ino })
}

// cookies returns the cookies of the network namespaces that have one.
func cookies(ids []netns.Identity) (list []uint64) {
	for _, id := range ids {
		if id.Cookie != 0 {
			list = append(list, id.Cookie)
		}
	}
	return list
}

// socketNetns returns the cookie of the network namespace of another process's socket, 0 if it cannot be known.
func socketNetns(pid, fd int) uint64 {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(socket)
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}
