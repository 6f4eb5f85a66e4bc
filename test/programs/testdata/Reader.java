// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A reader that prints "ready", stands still until a line comes, and copies what it receives to stdout:
// java Reader ADDRESS PORT
import java.net.Socket;

public class Reader {
    public static void main(String[] args) throws Exception {
        try (var socket = new Socket(args[0], Integer.parseInt(args[1]))) {
            System.out.println("ready");
            System.in.read();
            socket.getInputStream().transferTo(System.out);
            System.out.flush();
        }
    }
}
