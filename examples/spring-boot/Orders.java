// A shop's backend in Spring Boot: it has no login code, and knows its user from the headers that Menshen sets.
package example.shop;

import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;

@RestController
public class Orders {

    record Answer(String user, String app) {}

    @GetMapping("/orders")
    Answer orders(
        @RequestHeader(name = "X-WX-SOURCE", required = false) String source,
        @RequestHeader(name = "X-WX-OPENID", required = false) String openid,
        @RequestHeader(name = "X-Menshen-App", required = false) String app
    ) {
        // The rule of WeChat Cloud Run: only a request with a source is somebody's.
        return source == null || source.isEmpty() ? new Answer(null, null) : new Answer(openid, app);
    }
}
