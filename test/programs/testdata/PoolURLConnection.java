// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A pool of java.net.HttpURLConnection: java PoolURLConnection URL [CA]
//
// It makes three requests at the same time, prints "ready", and leaves the connections in the pool until a line comes.
// Then it makes three uploads at the same time, and prints "ok" or the error of each.
import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class PoolURLConnection {
    static final int HELD = 3;

    public static void main(String[] args) throws Exception {
        if (args.length > 1 && !args[1].isEmpty()) {
            HttpsURLConnection.setDefaultSSLSocketFactory(trust(args[1]).getSocketFactory());
        }
        var threads = Executors.newFixedThreadPool(HELD);
        var gets = new ArrayList<Callable<String>>();
        var uploads = new ArrayList<Callable<String>>();
        for (int i = 0; i < HELD; i++) {
            gets.add(() -> ask(args[0] + "/together", null));
            uploads.add(() -> ask(args[0] + "/upload", new byte[20_000_000]));
        }
        for (var get : threads.invokeAll(gets)) {
            get.get();
        }
        System.out.println("ready");
        System.in.read();
        for (var upload : threads.invokeAll(uploads)) {
            String result = "ok";
            try {
                upload.get();
            } catch (Exception e) {
                result = e.toString();
            }
            System.out.println(result);
        }
        System.exit(0);
    }

    static String ask(String url, byte[] body) throws Exception {
        var connection = (HttpURLConnection) new URL(url).openConnection();
        if (body != null) {
            connection.setDoOutput(true);
            connection.setFixedLengthStreamingMode(body.length);
            try (var out = connection.getOutputStream()) {
                out.write(body);
            }
        }
        try (var in = connection.getInputStream()) {
            return new String(in.readAllBytes());
        }
    }

    static SSLContext trust(String file) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var in = new FileInputStream(file)) {
            store.setCertificateEntry("peer", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}
